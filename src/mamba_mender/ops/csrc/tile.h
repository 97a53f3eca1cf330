// Tiles of [steps][lanes] between strided memory and vectors. One lane is one channel.
#pragma once

#include "scan.h"
#include "vec.h"

namespace ISA {

template <class F> void parallel(int64_t items, int threads, F work) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && items > 1)
  for (int64_t i = 0; i < items; ++i) work(i);
}

struct Tile {
  int64_t d;  // first channel
  int lanes;  // channels, at most the vector's width
};

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class V, int... I> INLINE V zip_low(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int W = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I & 1) ? W + I / 2 : I / 2)...);
}
template <class V, int... I> INLINE V zip_high(V a, V b, std::integer_sequence<int, I...>) {
  constexpr int W = sizeof...(I);
  return __builtin_shufflevector(a, b, ((I & 1) ? W + W / 2 + I / 2 : W / 2 + I / 2)...);
}

// Transpose a square of W vectors by log2(W) perfect shuffles.
template <class V> INLINE void transpose(V* x) {
  constexpr int W = LANES<typename ScalarOf<V>::type>;
  typedef std::make_integer_sequence<int, W> Lanes;
  V y[W];
  UNROLL for (int stage = 1; stage < W; stage *= 2) {
    UNROLL for (int i = 0; i < W / 2; ++i) {
      y[2 * i] = zip_low(x[i], x[i + W / 2], Lanes());
      y[2 * i + 1] = zip_high(x[i], x[i + W / 2], Lanes());
    }
    UNROLL for (int i = 0; i < W; ++i) x[i] = y[i];
  }
}

template <class S> INLINE Vector<S> load_lanes(const S* p, int lanes) {
  if (lanes == LANES<S>) return load(p);
  Vector<S> v = {};
  for (int i = 0; i < lanes; ++i) v[i] = p[i];
  return v;
}
template <class S> INLINE void store_lanes(S* p, Vector<S> v, int lanes) {
  if (lanes == LANES<S>) return store(p, v);
  for (int i = 0; i < lanes; ++i) p[i] = v[i];
}
template <class S> INLINE Vector<S> gather_lanes(const S* p, int64_t stride, int lanes) {
  if (stride == 1) return load_lanes(p, lanes);
  Vector<S> v = {};
  for (int i = 0; i < lanes; ++i) v[i] = p[i * stride];
  return v;
}

// Load steps rows from p, where a channel is `channel` and a step `time` elements on (time may be negative).
template <class S> INLINE void load_tile(Vector<S>* tile, const S* p, int64_t channel, int64_t time, int steps, int lanes) {
  constexpr int W = LANES<S>;
  int t = 0;
  if (channel != 1 && (time == 1 || time == -1) && lanes == W) {
    for (; t + W <= steps; t += W) {
      Vector<S> x[W];
      const S* q = time == 1 ? p + t : p - t - (W - 1);
      UNROLL for (int i = 0; i < W; ++i) x[i] = load(q + i * channel);
      transpose(x);
      UNROLL for (int i = 0; i < W; ++i) tile[t + i] = time == 1 ? x[i] : x[W - 1 - i];
    }
  }
  for (; t < steps; ++t) tile[t] = gather_lanes(p + t * time, channel, lanes);
}

template <class S> INLINE void store_tile(const Vector<S>* tile, S* p, int64_t time, int steps, int lanes) {
  for (int t = 0; t < steps; ++t) store_lanes(p + t * time, tile[t], lanes);
}

template <class S> INLINE void prefetch_tile(const View<S>& v, int64_t b, int64_t d, int64_t t, int steps) {
  if (!v.data || v.channel != 1) return;
  const S* p = v.at(b, d, t);
  for (int i = 0; i < steps; ++i) __builtin_prefetch(p + i * v.time, 0, 3);
}

// Load a tile of numbers: the value, and for dual numbers the derivative (zero where there is none).
template <class T, class S>
INLINE void load_numbers(T* tile, const View<S> (&v)[2], int64_t b, int64_t d, int64_t t, int steps, int lanes) {
  if constexpr (Number<T>::parts == 1) {
    load_tile((Vector<S>*)tile, v[0].at(b, d, t), v[0].channel, v[0].time, steps, lanes);
  } else {
    Vector<S> value[CHUNK], slope[CHUNK];
    load_tile(value, v[0].at(b, d, t), v[0].channel, v[0].time, steps, lanes);
    if (v[1].data) {
      load_tile(slope, v[1].at(b, d, t), v[1].channel, v[1].time, steps, lanes);
    } else {
      for (int i = 0; i < steps; ++i) slope[i] = Vector<S>{};
    }
    for (int i = 0; i < steps; ++i) tile[i] = Number<T>::make(value[i], slope[i]);
  }
}

// One number per lane from arrays that hold a channel every `stride` elements; zero where the array is missing.
template <class T, class S> INLINE T load_number(const S* const p[2], int64_t offset, int64_t stride, int lanes) {
  Vector<S> value = {}, slope = {};
  if (p[0]) value = gather_lanes(p[0] + offset, stride, lanes);
  if (Number<T>::parts == 2 && p[1]) slope = gather_lanes(p[1] + offset, stride, lanes);
  return Number<T>::make(value, slope);
}

}  // namespace ISA
