// Vectors of the instruction set's native width, dual numbers on them, and the few functions a scan needs.
// Each kernel file is compiled once per instruction set, with ISA naming its namespace.
#pragma once

#include <cstdint>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

namespace ISA {

typedef float vfloat __attribute__((vector_size(VECTOR_BYTES)));
typedef double vdouble __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vint32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t vint64 __attribute__((vector_size(VECTOR_BYTES)));
typedef float vfloat_anywhere __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double vdouble_anywhere __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

template <class S> struct VectorOf;
template <> struct VectorOf<float> { typedef vfloat type; };
template <> struct VectorOf<double> { typedef vdouble type; };
template <class S> using Vector = typename VectorOf<S>::type;

template <class S> constexpr int LANES = VECTOR_BYTES / int(sizeof(S));

INLINE vfloat load(const float* p) { return *(const vfloat_anywhere*)p; }
INLINE vdouble load(const double* p) { return *(const vdouble_anywhere*)p; }
INLINE void store(float* p, vfloat v) { *(vfloat_anywhere*)p = v; }
INLINE void store(double* p, vdouble v) { *(vdouble_anywhere*)p = v; }

constexpr double LOG2E = 1.4426950408889634, LN2 = 0.6931471805599453;

// Decays are computed as exp2_units(x) = 2^(x / UNITS): the whole part of x picks one of UNITS roots of two from a
// register, so that degree 3 suffices for the rest. Exponents beyond RANGE have to be clamped first.
#if defined(__AVX512F__)
constexpr int ROOTS = 16, ROOT_SHIFT = 19;
#elif defined(__AVX2__)
constexpr int ROOTS = 8, ROOT_SHIFT = 20;
#else
constexpr int ROOTS = 1, ROOT_SHIFT = 23;
#endif
template <class S> constexpr int UNITS = 1;
template <> constexpr int UNITS<float> = ROOTS;
constexpr float RANGE = 125.0f * ROOTS;

#if VECTOR_BYTES > 16
// bits(2^(i / ROOTS)) - (i << ROOT_SHIFT), so that adding (k << ROOT_SHIFT) gives 2^(k / ROOTS) for any whole k.
alignas(64) constexpr uint32_t ROOTS_OF_TWO[ROOTS] = {
#if VECTOR_BYTES == 64
    0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d,
#else
    0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7,
#endif
};
INLINE vint32 root_of_two(vint32 k) {
#if VECTOR_BYTES == 64
  return (vint32)_mm512_permutexvar_epi32((__m512i)k, _mm512_load_si512(ROOTS_OF_TWO));
#else
  return (vint32)_mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i*)ROOTS_OF_TWO), (__m256i)k);
#endif
}
#endif

INLINE vfloat exp2_units(vfloat x) {
#if VECTOR_BYTES > 16
  asm("" : "+v"(x));  // x is a product: fused into both uses it would burden the multipliers, and adders are free
#endif
  const vfloat shifted = x + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number in the low bits
  const vfloat f = x - (shifted - 12582912.0f);
#if VECTOR_BYTES > 16
  // Taylor, its square term moved to even out the error: with rounding 1.1e-7 at most, and exact in slope at 0.
  const float c1 = float(LN2 / ROOTS), c3 = float(LN2 * LN2 * LN2 / 6 / ROOTS / ROOTS / ROOTS);
  const float c2 = float(LN2 * LN2 / ROOTS / ROOTS * (0.5 + 0.8284 / 24 * LN2 * LN2 / 4 / ROOTS / ROOTS));
  const vfloat whole = (vfloat)(root_of_two((vint32)shifted) + ((vint32)shifted << ROOT_SHIFT));
  return (whole * f) * ((f * c3 + c2) * f + c1) + whole;
#else
  // On [-1/2, 1/2] a degree-5 minimax polynomial with its first two coefficients exact: relative error 1.05e-7.
  const float c1 = 0.693147181f, c2 = 0.240222812f, c3 = 0.0555055998f, c4 = 0.00966970809f, c5 = 0.00133002643f;
  const vfloat p = ((((f * c5 + c4) * f + c3) * f + c2) * f + c1) * f + 1.0f;
  return (vfloat)((vint32)p + ((vint32)shifted << ROOT_SHIFT));
#endif
}

INLINE vfloat at_least(vfloat low, vfloat x) {  // NaN stays NaN
#if VECTOR_BYTES == 64
  return (vfloat)_mm512_max_ps((__m512)low, (__m512)x);
#else
  return x < low ? low : x;
#endif
}
INLINE vfloat at_most(vfloat high, vfloat x) {
#if VECTOR_BYTES == 64
  return (vfloat)_mm512_min_ps((__m512)high, (__m512)x);
#else
  return x > high ? high : x;
#endif
}

// The same for any x: below the range about 1e-38, above it infinity.
INLINE vfloat exp2_clamped(vfloat x) {
  const vfloat high = vfloat{} + 128.0f * ROOTS;
  const vfloat y = exp2_units(at_most(high - 1.0f, at_least(vfloat{} - RANGE, x)));
  return x < high ? y : x == x ? vfloat{} + __builtin_inff() : x;
}
INLINE vfloat exp2(vfloat x) { return exp2_clamped(x * float(ROOTS)); }

// 2^x within 2^-125 and 2^127, for sums with 1, which makes no difference beyond.
INLINE vfloat exp2_limited(vfloat x) {
  return exp2_units(at_most(vfloat{} + 127.0f * ROOTS, at_least(vfloat{} - RANGE, x * float(ROOTS))));
}
INLINE vfloat exp2_negative(vfloat x) { return exp2_units(at_least(vfloat{} - RANGE, x * float(ROOTS))); }

// Taylor to degree 12: the remainder on [-1/2, 1/2] is below 2e-16.
INLINE vdouble exp2(vdouble x) {
  const double c[] = {1.0,
                      0.69314718055994531,
                      0.24022650695910071,
                      0.055504108664821580,
                      0.0096181291076284772,
                      0.0013333558146428443,
                      0.00015403530393381610,
                      1.5252733804059840e-5,
                      1.3215486790144309e-6,
                      1.0178086009239699e-7,
                      7.0549116208011233e-9,
                      4.4455382718708114e-10,
                      2.5678435993488202e-11};
  const vdouble low = vdouble{} - 1022.0, high = vdouble{} + 1023.0;
  vdouble y = x < low ? low : x;
  y = y > high ? high : y;
  const vdouble shifted = y + 6755399441055744.0;  // 1.5 * 2^52
  const vdouble f = y - (shifted - 6755399441055744.0);
  vdouble p = vdouble{} + c[12];
  UNROLL for (int k = 11; k >= 0; --k) p = p * f + c[k];
  const vdouble scaled = (vdouble)((vint64)p + ((vint64)shifted << 52));
  return x == x ? scaled : x;
}
INLINE vdouble exp2_units(vdouble x) { return exp2(x); }  // which clamps by itself
INLINE vdouble exp2_clamped(vdouble x) { return x < 1024.0 || x != x ? exp2(x) : vdouble{} + __builtin_inf(); }
INLINE vdouble exp2_limited(vdouble x) { return exp2(x); }
INLINE vdouble exp2_negative(vdouble x) { return exp2(x); }

INLINE vfloat magnitude(vfloat x) { return (vfloat)((vint32)x & 0x7fffffff); }
INLINE vdouble magnitude(vdouble x) { return (vdouble)((vint64)x & 0x7fffffffffffffff); }

template <class V> struct ScalarOf;
template <> struct ScalarOf<vfloat> { typedef float type; };
template <> struct ScalarOf<vdouble> { typedef double type; };

// A value and its derivative along one direction. Products drop what is of second order.
template <class V> struct Dual {
  V value, slope;
};
template <class S> struct DualScalar {
  S value, slope;
};

template <class V> INLINE Dual<V> operator+(Dual<V> a, Dual<V> b) { return {a.value + b.value, a.slope + b.slope}; }
template <class V> INLINE Dual<V> operator*(Dual<V> a, Dual<V> b) {
  return {a.value * b.value, a.value * b.slope + a.slope * b.value};
}
template <class V, class S> INLINE Dual<V> operator*(Dual<V> a, DualScalar<S> b) {
  return {a.value * b.value, a.value * b.slope + a.slope * b.value};
}
template <class V> INLINE Dual<V>& operator+=(Dual<V>& a, Dual<V> b) { return a = a + b; }
template <class V> INLINE Dual<V> scaled(Dual<V> a, typename ScalarOf<V>::type s) { return {a.value * s, a.slope * s}; }
INLINE vfloat scaled(vfloat a, float s) { return a * s; }
INLINE vdouble scaled(vdouble a, double s) { return a * s; }
template <class V> INLINE Dual<V> one_minus(Dual<V> a) { return {1 - a.value, -a.slope}; }
INLINE vfloat one_minus(vfloat a) { return 1 - a; }
INLINE vdouble one_minus(vdouble a) { return 1 - a; }
template <class V> INLINE Dual<V> one_plus(Dual<V> a) { return {1 + a.value, a.slope}; }
INLINE vfloat one_plus(vfloat a) { return 1 + a; }
INLINE vdouble one_plus(vdouble a) { return 1 + a; }

template <class V> INLINE Dual<V> exp2_units(Dual<V> x) {
  typedef typename ScalarOf<V>::type S;
  const V y = exp2_units(x.value);
  return {y, y * x.slope * (S)(LN2 / UNITS<S>)};
}
template <class V> INLINE Dual<V> exp2_clamped(Dual<V> x) {
  typedef typename ScalarOf<V>::type S;
  const V y = exp2_clamped(x.value);
  return {y, y * x.slope * (S)(LN2 / UNITS<S>)};
}

template <class V> INLINE V sigmoid_of(V x) { return 1 / (1 + exp2_limited(x * (typename ScalarOf<V>::type)-LOG2E)); }
INLINE vfloat sigmoid(vfloat x) { return sigmoid_of(x); }
INLINE vdouble sigmoid(vdouble x) { return sigmoid_of(x); }
template <class V> INLINE Dual<V> sigmoid(Dual<V> x) {
  const V y = sigmoid(x.value);
  return {y, y * (1 - y) * x.slope};
}

// log(1 + e) for 0 <= e <= 1 as 2 atanh(e / (2 + e)): the series in s <= 1/3 ends below the rounding error.
INLINE vfloat log1p(vfloat e) {
  const vfloat s = e / (2.0f + e), q = s * s;
  const vfloat p = (((((q / 13 + 1.0f / 11) * q + 1.0f / 9) * q + 1.0f / 7) * q + 1.0f / 5) * q + 1.0f / 3) * q + 1.0f;
  return 2.0f * s * p;
}
INLINE vdouble log1p(vdouble e) {
  const vdouble s = e / (2.0 + e), q = s * s;
  vdouble p = vdouble{} + 1.0 / 35;
  UNROLL for (int k = 33; k >= 1; k -= 2) p = p * q + 1.0 / k;
  return 2.0 * s * p;
}

// softplus and its derivative; above 20 the identity, as in torch.
template <class V> INLINE void softplus_of(V x, V& value, V& slope) {
  typedef typename ScalarOf<V>::type S;
  const V e = exp2_negative(magnitude(x) * (S)-LOG2E), r = 1 / (1 + e);
  const V positive = x > 0 ? x : V{};
  value = x > 20 ? x : positive + log1p(e);
  slope = x > 20 ? V{} + 1 : (x >= 0 ? r : e * r);
}
INLINE void softplus(vfloat x, vfloat& value, vfloat& slope) { softplus_of(x, value, slope); }
INLINE void softplus(vdouble x, vdouble& value, vdouble& slope) { softplus_of(x, value, slope); }
template <class V> INLINE void softplus(Dual<V> x, Dual<V>& value, Dual<V>& slope) {
  V y, dy;
  softplus(x.value, y, dy);
  value = {y, dy * x.slope};
  slope = {dy, dy * (1 - dy) * x.slope};
}

// What a number type stands for: the scalar in memory, the vector, and how inputs enter it and results leave it.
template <class T> struct Number;
template <class V> struct PlainNumber {
  typedef typename ScalarOf<V>::type S;
  typedef S Broadcast;
  static constexpr int parts = 1;
  static INLINE V part(V v, int) { return v; }
  static INLINE V result(V v) { return v; }
  static INLINE V make(V value, V) { return value; }
  static INLINE Broadcast broadcast(const S* const p[2], int64_t i) { return p[0][i]; }
};
template <> struct Number<vfloat> : PlainNumber<vfloat> {};
template <> struct Number<vdouble> : PlainNumber<vdouble> {};
template <class V> struct Number<Dual<V>> {
  typedef typename ScalarOf<V>::type S;
  typedef DualScalar<S> Broadcast;
  static constexpr int parts = 2;
  static INLINE V part(Dual<V> v, int i) { return i ? v.slope : v.value; }
  static INLINE V result(Dual<V> v) { return v.slope; }  // a dual pass is run for its derivatives only
  static INLINE Dual<V> make(V value, V slope) { return {value, slope}; }
  static INLINE Broadcast broadcast(const S* const p[2], int64_t i) { return {p[0][i], p[1][i]}; }
};

template <class V> INLINE typename ScalarOf<V>::type lane_sum(V v) {
  typename ScalarOf<V>::type sum = 0;
  UNROLL for (int i = 0; i < LANES<typename ScalarOf<V>::type>; ++i) sum += v[i];
  return sum;
}

}  // namespace ISA
