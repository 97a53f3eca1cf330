// What this processor can do at most: multiply-adds, 2^x, reading and copying memory. Each function runs for about
// the seconds asked for, on the calling thread, and returns units per second of that thread's own processor time.
#include <cstdint>
#include <ctime>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define UNROLL _Pragma("GCC unroll 16")

typedef float vfloat __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t vint32 __attribute__((vector_size(VECTOR_BYTES)));
typedef float vfloat_anywhere __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
constexpr int LANES = VECTOR_BYTES / 4;

static inline vfloat load(const float* p) { return *(const vfloat_anywhere*)p; }
static inline void store(float* p, vfloat v) { *(vfloat_anywhere*)p = v; }

static float lane_sum(vfloat v) {
  float sum = 0;
  for (int i = 0; i < LANES; ++i) sum += v[i];
  return sum;
}

// 2^x for x in [-126, 127], by a polynomial of degree 5: relative error 1.05e-7.
static inline vfloat exp2(vfloat x) {
  const float c1 = 0.693147181f, c2 = 0.240222812f, c3 = 0.0555055998f, c4 = 0.00966970809f, c5 = 0.00133002643f;
#if defined(__AVX512F__)
  const vfloat whole = (vfloat)_mm512_roundscale_ps((__m512)x, 8), f = x - whole;
#else
  const vfloat shifted = x + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number in the low bits
  const vfloat f = x - (shifted - 12582912.0f);
#endif
  const vfloat p = ((((f * c5 + c4) * f + c3) * f + c2) * f + c1) * f + 1.0f;
#if defined(__AVX512F__)
  return (vfloat)_mm512_scalef_ps((__m512)p, (__m512)whole);
#else
  return (vfloat)((vint32)p + ((vint32)shifted << 23));
#endif
}

static double now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static volatile float one = 0.999999f, small = 1e-6f;  // unknown to the compiler, so that no loop can be folded
static volatile float sink;

template <class F> static double rate(double seconds, double units, F work) {
  work();  // warm up
  const double began = now();
  double done = 0, taken;
  do {
    work();
    done += units;
    taken = now() - began;
  } while (taken < seconds);
  return done / taken;
}

extern "C" {

int vector_bytes() { return VECTOR_BYTES; }

// Vector multiply-adds: 12 chains that do not wait for each other hide the latency of every unit there is.
double multiply_adds(double seconds) {
  constexpr int CHAINS = 12, STEPS = 100000;
  vfloat x[CHAINS];
  for (int j = 0; j < CHAINS; ++j) x[j] = vfloat{} + float(j);
  const vfloat m = vfloat{} + one, a = vfloat{} + small;
  const double found = rate(seconds, double(CHAINS) * STEPS, [&] {
    vfloat y[CHAINS];  // a copy, so that it stays in registers
    UNROLL for (int j = 0; j < CHAINS; ++j) y[j] = x[j];
    for (int i = 0; i < STEPS; ++i) {
      UNROLL for (int j = 0; j < CHAINS; ++j) y[j] = y[j] * m + a;
    }
    UNROLL for (int j = 0; j < CHAINS; ++j) x[j] = y[j];
  });
  for (int j = 0; j < CHAINS; ++j) sink = lane_sum(x[j]);
  return found;
}

// Single numbers raised, from the first-level cache.
double exponentials(double seconds) {
  constexpr int MANY = 64, STEPS = 2000;
  alignas(64) float from[MANY * LANES];
  for (int i = 0; i < MANY * LANES; ++i) from[i] = -4 * one * i / (MANY * LANES);
  vfloat sum[4] = {};
  const double found = rate(seconds, double(MANY) * STEPS * LANES, [&] {
    vfloat own[4] = {};
    for (int i = 0; i < STEPS; ++i) {
      for (int k = 0; k < MANY; k += 4) {
        UNROLL for (int j = 0; j < 4; ++j) own[j] += exp2(load(from + (k + j) * LANES));
      }
      asm volatile("" ::: "memory");  // the next step must not reuse what this one found
    }
    for (int j = 0; j < 4; ++j) sum[j] += own[j];
  });
  sink = lane_sum(sum[0] + sum[1] + sum[2] + sum[3]);
  return found;
}

// Bytes read from memory that is much larger than the caches.
double read_bytes(double seconds, const float* memory, int64_t count) {
  vfloat sum[8] = {};
  const double found = rate(seconds, 4.0 * count, [&] {
    for (int64_t i = 0; i + 8 * LANES <= count; i += 8 * LANES) {
      UNROLL for (int j = 0; j < 8; ++j) sum[j] += load(memory + i + j * LANES);
    }
  });
  for (int j = 0; j < 8; ++j) sink = lane_sum(sum[j]);
  return found;
}

// Bytes read plus bytes written, by stores through the caches as the kernels make them.
double copied_bytes(double seconds, float* memory, int64_t count) {
  const int64_t half = count / 2;
  return rate(seconds, 8.0 * half, [&] {
    for (int64_t i = 0; i + LANES <= half; i += LANES) store(memory + half + i, load(memory + i));
    asm volatile("" ::: "memory");
  });
}
}
