// What the passes of the scan share: which tiles there are, and what of one chunk is brought to the first cache.
#pragma once

#include "tile.h"

namespace ISA {

// A run of neighbouring tiles of one batch row and group, over some of its chunks.
struct Run {
  int64_t b, g, first, tiles;          // batch row, group, first tile, how many
  int64_t segment, begin, end;         // which piece of the sequence, and its chunks
};

// The i-th tile of a group; a tile never reaches into the next group.
template <class S> INLINE Tile tile_at(const Scan<S>& p, int64_t i) {
  const int64_t width = p.channels / p.groups, first = i * LANES<S>;
  return {first, int(least(LANES<S>, width - first))};
}
template <class S> INLINE int64_t tiles_of(const Scan<S>& p) { return ceil_div(p.channels / p.groups, LANES<S>); }
// Where the channel lies among those of all groups.
template <class S> INLINE int64_t channel_of(const Scan<S>& p, int64_t g, const Tile& tile) {
  return g * (p.channels / p.groups) + tile.d;
}
template <class S> INLINE Run run_of(const Scan<S>& p, int64_t b, int64_t g, int64_t first, int64_t tiles, int64_t segment) {
  const int64_t chunks = ceil_div(p.length, CHUNK);
  return {b, g, first, tiles, segment, segment * chunks / p.segments, (segment + 1) * chunks / p.segments};
}

// B or C at one chunk, [step][state]: broadcast over the lanes, or one number per lane.
template <class T> struct Coefficients {
  typedef typename Number<T>::S S;
  const S* p[2];
  const T* constant;
  int64_t state;
  template <bool CONSTANT> INLINE auto at(int64_t t, int n) const {
    if constexpr (CONSTANT) {
      return constant[n];
    } else {
      return Number<T>::broadcast(p, t * state + n);
    }
  }
};

// Bring a matrix at one chunk to `to`, unless it is constant. A missing tangent is zero.
template <class T, class S>
static Coefficients<T> pack(const Matrix<S>& m, S* to, int64_t b, int64_t g, const Places& places, int steps, int64_t N) {
  Coefficients<T> c = {{to, to + CHUNK * N}, nullptr, N};
  if (m.constant) return c;
  for (int part = 0; part < Number<T>::parts; ++part) {
    const View<S>& v = m.view[part];
    S* row = to + part * CHUNK * N;
    if (!v.data) {
      for (int64_t i = 0; i < steps * N; ++i) row[i] = 0;
      continue;
    }
    with_element<S>(v.kind, [&](auto element) {
      typedef decltype(element) E;
      for (int t = 0; t < steps; ++t) {
        const auto* p = (const typename E::type*)v.at(b, g, 0) + places.at[t] * v.time;
        S* to = row + t * N;
        int64_t n = 0;
        if (v.channel == 1)
          for (; n + LANES<S> <= N; n += LANES<S>) store(to + n, E::load(p + n));
        for (; n < N; ++n) to[n] = E::scalar(p[n * v.channel]);
      }
    });
  }
  return c;
}
template <class T, class S> INLINE size_t packed(const Scan<S>& p) { return sizeof(S) * Number<T>::parts * CHUNK * p.state; }

// Per-channel parameters of a run of tiles, brought to one number per lane.
template <class T, class S> struct TileParameters {
  T *A, *B, *C;      // [tile][state], B and C only when constant; A in units of exp2_units
  Vector<S>* bound;  // [tile]: the largest |A|
  static size_t bytes(const Scan<S>& p, int64_t tiles) {
    return tiles * (sizeof(T) * p.state * (1 + p.B.constant + p.C.constant) + sizeof(Vector<S>));
  }
  TileParameters(const Scan<S>& p, void* memory, const Run& run) {
    A = (T*)memory;
    B = A + run.tiles * p.state;
    C = B + run.tiles * p.state * p.B.constant;
    bound = (Vector<S>*)(C + run.tiles * p.state * p.C.constant);
    const S* const matrix_B[2] = {(const S*)p.B.view[0].data, (const S*)p.B.view[1].data};
    const S* const matrix_C[2] = {(const S*)p.C.view[0].data, (const S*)p.C.view[1].data};
    for (int64_t i = 0; i < run.tiles; ++i) {
      const Tile tile = tile_at(p, run.first + i);
      bound[i] = Vector<S>{};
      for (int64_t n = 0; n < p.state; ++n) {
        const int64_t from = channel_of(p, run.g, tile) * p.state + n, to = i * p.state + n;
        A[to] = scaled(load_number<T>(p.A, from, p.state, tile.lanes), (S)(LOG2E * UNITS<S>));
        const Vector<S> size = magnitude(Number<T>::part(A[to], 0));
        bound[i] = size > bound[i] ? size : bound[i];
        if (p.B.constant) B[to] = load_number<T>(matrix_B, from, p.state, tile.lanes);
        if (p.C.constant) C[to] = load_number<T>(matrix_C, from, p.state, tile.lanes);
      }
    }
  }
};

// Memory that is asked for while states are computed, a row of channels a step.
struct Ahead {
  const char* p;
  const int64_t* at;  // rows, in strides
  int64_t stride;     // bytes; 0: there is nothing to ask for
};
template <class M> INLINE Ahead ahead_of(const M& memory, const char* p, const Places& places) {
  return {p, places.at, memory.time * memory.bytes()};
}
INLINE Ahead nothing_ahead(const Places& places) { return {(const char*)&places, places.at, 0}; }
template <bool WRITE = false> INLINE void ask(const Ahead& ahead, int t) {
  __builtin_prefetch(ahead.p + ahead.at[t] * ahead.stride, WRITE, 2);
}

// Whether no exponent of the chunk needs clamping (NaN says no).
template <class T, class S> INLINE bool in_range(const T* step, int steps, Vector<S> bound) {
  auto fits = bound == bound;
  for (int t = 0; t < steps; ++t) fits &= magnitude(Number<T>::part(step[t], 0)) * bound < (S)RANGE;
  bool all = true;
  UNROLL for (int i = 0; i < LANES<S>; ++i) all &= fits[i] != 0;
  return all;
}
template <bool FAST, class T> INLINE T decay_of(T x) {
  if constexpr (FAST) return exp2_units(x);
  return exp2_clamped(x);
}

// The kinds of chunk that the inner loops are compiled for: f(FAST, B is constant, C is constant).
template <class T, class S, class F> INLINE void specialise(const Scan<S>& p, bool fast, F f) {
  typedef std::integral_constant<bool, true> Yes;
  typedef std::integral_constant<bool, false> No;
  const bool cb = p.B.constant, cc = p.C.constant;
  if (cb && cc) return f(No(), Yes(), Yes());
  if (cb) return f(No(), Yes(), No());
  if (cc) return f(No(), No(), Yes());
  if constexpr (sizeof(S) == 4) {
    if (fast) return f(Yes(), No(), No());
  }
  f(No(), No(), No());
}

// States between the segments, (batch, segments, state, channels), when a sequence is cut into several: what a segment
// alone adds to the state that enters it (`state`), and the steps it makes in all (`steps`, (batch, segments, channels)).
template <class S> struct Borders {
  S *state[2] = {}, *steps[2] = {};
  int64_t channels = 0, N = 0, segments = 0;
  S* memory = nullptr;
  Borders(const Scan<S>& p, int parts) : channels(p.channels), N(p.state), segments(p.segments) {
    if (segments == 1) return;
    const int64_t rows = p.batch * segments * channels, size = rows * (N + 1);
    memory = new S[parts * size];
    for (int i = 0; i < parts; ++i) state[i] = memory + i * size, steps[i] = state[i] + rows * N;
  }
  Borders(const Borders&) = delete;
  ~Borders() { delete[] memory; }
  int64_t row(int64_t b, int64_t segment) const { return (b * segments + segment) * channels; }
  template <class T> INLINE T load(int64_t b, int64_t segment, int64_t n, int64_t d, int lanes) const {
    return load_number<T>(state, row(b, segment) * N + n * channels + d, 1, lanes);
  }
  template <class T> INLINE void store(T v, int64_t b, int64_t segment, int64_t n, int64_t d, int lanes) {
    for (int part = 0; part < Number<T>::parts; ++part)
      store_lanes(state[part] + row(b, segment) * N + n * channels + d, Number<T>::part(v, part), lanes);
  }
  template <class T> INLINE T load_steps(int64_t b, int64_t segment, int64_t d, int lanes) const {
    return load_number<T>(steps, row(b, segment) + d, 1, lanes);
  }
  template <class T> INLINE void store_steps(T v, int64_t b, int64_t segment, int64_t d, int lanes) {
    for (int part = 0; part < Number<T>::parts; ++part)
      store_lanes(steps[part] + row(b, segment) + d, Number<T>::part(v, part), lanes);
  }
};

// From what each segment alone leaves behind to what enters each: one small recurrence over segments, forwards or back.
template <class T, class S> static void join_segments(const Scan<S>& p, Borders<S>& borders, bool backward) {
  const int64_t tiles = tiles_of(p), last = p.segments - 1;
  parallel(p.batch * p.groups * tiles, p.threads, [&](int64_t item) {
    const int64_t b = item / tiles / p.groups, g = item / tiles % p.groups;
    const Tile tile = tile_at(p, item % tiles);
    const int64_t d = channel_of(p, g, tile);
    for (int64_t n = 0; n < p.state; ++n) {
      const T A = scaled(load_number<T>(p.A, d * p.state + n, p.state, tile.lanes), (S)(LOG2E * UNITS<S>));
      const S* const grad_last[2] = {p.grad_last, nullptr};
      T h = load_number<T>(backward ? grad_last : p.initial, (b * p.channels + d) * p.state + n, p.state, tile.lanes);
      for (int64_t i = 0; i <= last; ++i) {
        const int64_t segment = backward ? last - i : i;
        const T own = i == last ? T{} : borders.template load<T>(b, segment, n, d, tile.lanes);
        borders.store(h, b, segment, n, d, tile.lanes);
        if (i < last) h = exp2_clamped(A * borders.template load_steps<T>(b, segment, d, tile.lanes)) * h + own;
      }
    }
  });
}

}  // namespace ISA
