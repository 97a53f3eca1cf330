// Half-precision numbers in memory, converted to vectors of floats and back (to the nearest, ties to even).
#pragma once

#include "scan.h"
#include "vec.h"

namespace ISA {

typedef uint32_t vuint32 __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t vhalf __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint16_t vhalf_anywhere __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));

INLINE vfloat from_bfloat16(vhalf x) { return (vfloat)(__builtin_convertvector(x, vuint32) << 16); }
INLINE vhalf to_bfloat16(vfloat x) {
  const vuint32 bits = (vuint32)x, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const vuint32 nan = (bits >> 16) | 0x40;
  return __builtin_convertvector((vuint32)(x == x ? (vint32)rounded : (vint32)nan), vhalf);
}

#if VECTOR_BYTES == 64
INLINE vfloat from_float16(vhalf x) { return (vfloat)_mm512_cvtph_ps((__m256i)x); }
INLINE vhalf to_float16(vfloat x) { return (vhalf)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
#elif VECTOR_BYTES == 32
INLINE vfloat from_float16(vhalf x) { return (vfloat)_mm256_cvtph_ps((__m128i)x); }
INLINE vhalf to_float16(vfloat x) { return (vhalf)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT); }
#else
// Without the instruction, by arithmetic that the processor rounds: the exponent is moved by a product with 2^112.
INLINE vfloat from_float16(vhalf x) {
  const vuint32 wide = __builtin_convertvector(x, vuint32), magnitude = (wide & 0x7fff) << 13;
  const vuint32 finite = (vuint32)((vfloat)magnitude * 0x1p112f), special = magnitude | 0x7f800000;
  const vint32 is_special = (wide & 0x7c00) == 0x7c00;
  return (vfloat)(((wide & 0x8000) << 16) | (vuint32)(is_special ? (vint32)special : (vint32)finite));
}
INLINE vhalf to_float16(vfloat x) {
  const vuint32 bits = (vuint32)x, twice = bits + bits;
  const vint32 exponent = (vint32)(twice & 0xff000000);
  const vuint32 least = vuint32{} + 0x71000000;
  const vuint32 bias = (vuint32)((vuint32)exponent < least ? (vint32)least : exponent);
  const vfloat scaled = (vfloat)(bits & 0x7fffffff) * 0x1p112f * 0x1p-110f;  // overflows to infinity where a half does
  const vuint32 sum = (vuint32)((vfloat)((bias >> 1) + 0x07800000) + scaled);
  const vuint32 number = (sum >> 13 & 0x7c00) + (sum & 0x0fff), nan = vuint32{} + 0x7e00;
  const vuint32 magnitude = (vuint32)(twice > 0xff000000 ? (vint32)nan : (vint32)number);
  return __builtin_convertvector((bits >> 16 & 0x8000) | magnitude, vhalf);
}
#endif

// How vectors of S are read from and written to memory that holds one kind of element.
template <class S, int64_t KIND> struct Element {
  typedef S type;
  static INLINE S scalar(S x) { return x; }
  static INLINE Vector<S> load(const S* p) { return ISA::load(p); }
  static INLINE void store(S* p, Vector<S> v) { ISA::store(p, v); }
};
template <> struct Element<float, BFLOAT16> {
  typedef uint16_t type;
  static INLINE float scalar(type x) { return from_bfloat16(vhalf{} + x)[0]; }
  static INLINE vfloat load(const type* p) { return from_bfloat16(*(const vhalf_anywhere*)p); }
  static INLINE void store(type* p, vfloat v) { *(vhalf_anywhere*)p = to_bfloat16(v); }
};
template <> struct Element<float, FLOAT16> {
  typedef uint16_t type;
  static INLINE float scalar(type x) { return from_float16(vhalf{} + x)[0]; }
  static INLINE vfloat load(const type* p) { return from_float16(*(const vhalf_anywhere*)p); }
  static INLINE void store(type* p, vfloat v) { *(vhalf_anywhere*)p = to_float16(v); }
};

// Call f with the kind of element that memory holds.
template <class S, class F> INLINE void with_element(int64_t kind, F f) {
  if constexpr (sizeof(S) == 4) {
    if (kind == BFLOAT16) return f(Element<S, BFLOAT16>());
    if (kind == FLOAT16) return f(Element<S, FLOAT16>());
  }
  f(Element<S, NATIVE>());
}

}  // namespace ISA
