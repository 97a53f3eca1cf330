// Tiles of [steps][lanes] between strided memory and vectors. One lane is one channel.
#pragma once

#include "half.h"
#include "scan.h"
#include "vec.h"

namespace ISA {

template <class F> void parallel(int64_t items, int threads, F work) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && items > 1)
  for (int64_t i = 0; i < items; ++i) work(i);
}

struct Tile {
  int64_t d;  // first channel, in its group
  int lanes;  // channels, at most the vector's width
};

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Where the steps of a chunk lie along time, and how far apart if they are evenly spaced (1 or -1; else 0).
struct Places {
  int64_t at[CHUNK], stride;
};
INLINE Places places_of(const Path& path, int64_t first, int steps) {
  Places places;
  for (int t = 0; t < steps; ++t) places.at[t] = path.at(first + t);
  if (steps > 0)  // a convolution may have none left
    for (int t = steps; t < CHUNK; ++t) places.at[t] = places.at[steps - 1];  // for what is asked for ahead
  places.stride = path.by_column ? 0 : path.reverse ? -1 : 1;
  return places;
}

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

// Lane i of the result is the sum of x[i]'s lanes: a transpose that adds what it shuffles. Overwrites x.
template <class V> INLINE V lane_sums(V* x) {
  constexpr int W = LANES<typename ScalarOf<V>::type>;
  typedef std::make_integer_sequence<int, W> Lanes;
  UNROLL for (int half = W / 2; half >= 1; half /= 2)
    UNROLL for (int i = 0; i < half; ++i)
      x[i] = zip_low(x[i], x[i + half], Lanes()) + zip_high(x[i], x[i + half], Lanes());
  return x[0];
}

// Elements from p, `stride` apart, as the first lanes of a vector whose others are zero.
template <class E, class S> INLINE Vector<S> gather(const typename E::type* p, int64_t stride, int lanes) {
  if (stride == 1 && lanes == LANES<S>) return E::load(p);
  typename E::type row[LANES<S>] = {};
  for (int i = 0; i < lanes; ++i) row[i] = p[i * stride];
  return E::load(row);
}
template <class S> INLINE Vector<S> gather_lanes(const S* p, int64_t stride, int lanes) {
  return gather<Element<S, NATIVE>, S>(p, stride, lanes);
}
template <class E, class S> INLINE void store_some(typename E::type* p, Vector<S> v, int lanes) {
  if (lanes == LANES<S>) return E::store(p, v);
  typename E::type row[LANES<S>];
  E::store(row, v);
  for (int i = 0; i < lanes; ++i) p[i] = row[i];
}
template <class S> INLINE void store_lanes(S* p, Vector<S> v, int lanes) {
  store_some<Element<S, NATIVE>, S>(p, v, lanes);
}

// Load the steps of a chunk, W channels at a time, from p, where a channel is `channel` and a step `time` elements on.
template <class S>
__attribute__((noinline)) void load_tile(Vector<S>* tile, const char* data, const View<S>& v, const Places& places,
                                         int steps, int lanes) {
  with_element<S>(v.kind, [&](auto element) {
    typedef decltype(element) E;
    constexpr int W = LANES<S>;
    const auto* p = (const typename E::type*)data;
    const int64_t stride = v.time * places.stride;
    int t = 0;
    if (v.channel != 1 && (stride == 1 || stride == -1) && lanes == W) {
      for (; t + W <= steps; t += W) {
        Vector<S> x[W];
        const auto* q = p + places.at[stride == 1 ? t : t + W - 1] * v.time;
        UNROLL for (int i = 0; i < W; ++i) x[i] = E::load(q + i * v.channel);
        transpose(x);
        UNROLL for (int i = 0; i < W; ++i) tile[t + i] = stride == 1 ? x[i] : x[W - 1 - i];
      }
    }
    if (v.channel == 1 && lanes == W) {
      for (; t < steps; ++t) tile[t] = E::load(p + places.at[t] * v.time);
    }
    for (; t < steps; ++t) tile[t] = gather<E, S>(p + places.at[t] * v.time, v.channel, lanes);
  });
}

// Store them; or add them to what is there.
template <class S>
__attribute__((noinline)) void store_tile(const Vector<S>* tile, char* data, const Output<S>& v, const Places& places,
                                          int steps, int lanes, bool add) {
  with_element<S>(v.kind, [&](auto element) {
    typedef decltype(element) E;
    auto* p = (typename E::type*)data;
    for (int t = 0; t < steps; ++t) {
      auto* to = p + places.at[t] * v.time;
      store_some<E, S>(to, add ? tile[t] + gather<E, S>(to, 1, lanes) : tile[t], lanes);
    }
  });
}

template <class S>
INLINE void prefetch_tile(const View<S>& v, int64_t b, int64_t g, int64_t d, const Places& places, int steps) {
  if (!v.data) return;
  const char* p = v.at(b, g, d);
  const int64_t time = v.time * v.bytes(), channel = v.channel * v.bytes();
  if (v.channel == 1) {
    for (int t = 0; t < steps; ++t) __builtin_prefetch(p + places.at[t] * time, 0, 3);
  } else if (places.stride != 0 && (v.time == 1 || v.time == -1)) {  // a channel's steps share few lines
    for (int i = 0; i < LANES<S>; ++i) {
      __builtin_prefetch(p + i * channel + places.at[0] * time, 0, 3);
      __builtin_prefetch(p + i * channel + places.at[steps / 2] * time, 0, 3);
      __builtin_prefetch(p + i * channel + places.at[steps - 1] * time, 0, 3);
    }
  }
}

// Load a tile of numbers: the value, and for dual numbers the derivative (zero where there is none).
template <class T, class S>
INLINE void load_numbers(T* tile, const View<S> (&v)[2], int64_t b, int64_t g, int64_t d, const Places& places,
                         int steps, int lanes) {
  if constexpr (Number<T>::parts == 1) {
    load_tile((Vector<S>*)tile, v[0].at(b, g, d), v[0], places, steps, lanes);
  } else {
    Vector<S> value[CHUNK], slope[CHUNK];
    load_tile(value, v[0].at(b, g, d), v[0], places, steps, lanes);
    if (v[1].data) {
      load_tile(slope, v[1].at(b, g, d), v[1], places, steps, lanes);
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
