// The forward pass over one run of tiles. Names and equations follow ops/scan.py.
#pragma once

#include "scan_chunk.h"

namespace ISA {

// Advance COUNT states of a tile over a chunk; OUTPUT says whether y is wanted too.
template <int COUNT, bool FAST, bool CB, bool CC, bool OUTPUT, class T>
static INLINE void forward_steps(T* state, const T* A, const Coefficients<T>& B, const Coefficients<T>& C, int n,
                                 const T* step, const T* input, T* y, int steps, const Ahead* ahead) {
  T h[COUNT];
  UNROLL for (int j = 0; j < COUNT; ++j) h[j] = state[j];
  for (int t = 0; t < steps; ++t) {
    const T d = step[t], x = input[t];
    if constexpr (OUTPUT) {
      for (int k = 0; k < 3; ++k) ask(ahead[k], t);
      ask<true>(ahead[3], t);
    }
    T even = {}, odd = {};
    if constexpr (OUTPUT) even = y[t];
    UNROLL for (int j = 0; j < COUNT; ++j) {
      h[j] = decay_of<FAST>(d * A[j]) * h[j] + x * B.template at<CB>(t, n + j);
      if constexpr (OUTPUT) (j & 1 ? odd : even) += h[j] * C.template at<CC>(t, n + j);
    }
    if constexpr (OUTPUT) y[t] = even + odd;
  }
  UNROLL for (int j = 0; j < COUNT; ++j) state[j] = h[j];
}

template <bool OUTPUT, class T, class S>
static INLINE void forward_states(const Scan<S>& p, bool fast, T* h, const T* A, const Coefficients<T>& B,
                                  const Coefficients<T>& C, const T* step, const T* input, T* y, int steps,
                                  const Ahead* ahead) {
  constexpr int MANY = VECTOR_BYTES == 64 && Number<T>::parts == 1 ? 16 : 4;
  const int N = int(p.state);
  specialise<T>(p, fast, [&](auto quick, auto cb, auto cc) {
    constexpr bool Q = quick.value, CB = cb.value, CC = cc.value;
    int n = 0;
    if constexpr (!CB && !CC)
      for (; n + MANY <= N; n += MANY)
        forward_steps<MANY, Q, CB, CC, OUTPUT>(h + n, A + n, B, C, n, step, input, y, steps, ahead);
    for (; n + 4 <= N; n += 4) forward_steps<4, Q, CB, CC, OUTPUT>(h + n, A + n, B, C, n, step, input, y, steps, ahead);
    for (; n < N; ++n) forward_steps<1, Q, CB, CC, OUTPUT>(h + n, A + n, B, C, n, step, input, y, steps, ahead);
  });
}

// What enters the recurrence of one tile: step sizes and inputs.
template <class T, class S>
static INLINE void load_steps(const Scan<S>& p, const Run& run, const Tile& tile, const Places& places, int steps, T* u,
                              T* step, T* input) {
  load_numbers(u, p.u, run.b, run.g, tile.d, places, steps, tile.lanes);
  load_numbers(step, p.delta, run.b, run.g, tile.d, places, steps, tile.lanes);
  const T bias = load_number<T>(p.bias, channel_of(p, run.g, tile), 1, tile.lanes);
  for (int t = 0; t < steps; ++t) {
    step[t] += bias;
    T slope;
    if (p.softplus) softplus(T(step[t]), step[t], slope);
    input[t] = step[t] * u[t];
  }
}

// While the states of a tile are computed: the inputs of the tile that comes next, and the output of its own.
template <class S>
static INLINE void ask_for_next(const Scan<S>& p, const Run& run, const Places& places, const Places& next, int64_t i,
                                bool goes_on, Ahead* ahead) {
  const View<S>* const inputs[3] = {&p.u[0], &p.delta[0], &p.z[0]};
  const bool same = i + 1 < run.tiles;
  if (same || goes_on)
    for (int k = 0; k < 3; ++k)
      if (inputs[k]->data && inputs[k]->channel == 1)
        ahead[k] = ahead_of(*inputs[k], inputs[k]->at(run.b, run.g, tile_at(p, run.first + (same ? i + 1 : 0)).d),
                            same ? places : next);
  ahead[3] = ahead_of(p.y, p.y.at(run.b, run.g, tile_at(p, run.first + i).d), places);
}

// The states of a run of tiles as they enter its first chunk, [tile][state].
template <bool OUTPUT, class T, class S>
static void enter(const Scan<S>& p, const Run& run, const Borders<S>& borders, T* h) {
  const int64_t N = p.state;
  for (int64_t i = 0; i < run.tiles; ++i) {
    const Tile tile = tile_at(p, run.first + i);
    const int64_t d = channel_of(p, run.g, tile);
    for (int64_t n = 0; n < N; ++n)
      h[i * N + n] = !OUTPUT ? T{}
                     : p.segments > 1
                         ? borders.template load<T>(run.b, run.segment, n, d, tile.lanes)
                         : load_number<T>(p.initial, (run.b * p.channels + d) * N + n, N, tile.lanes);
  }
}

// Keep them as they leave its last chunk: at the borders, or, after the last segment, as the last state.
template <bool OUTPUT, class T, class S>
static void leave(const Scan<S>& p, const Run& run, Borders<S>& borders, const T* h, const T* total) {
  const int64_t N = p.state;
  for (int64_t i = 0; i < run.tiles; ++i) {
    const Tile tile = tile_at(p, run.first + i);
    const int64_t d = channel_of(p, run.g, tile);
    if (!OUTPUT) borders.store_steps(total[i], run.b, run.segment, d, tile.lanes);
    for (int64_t n = 0; n < N; ++n) {
      if (!OUTPUT) {
        borders.store(h[i * N + n], run.b, run.segment, n, d, tile.lanes);
      } else if (run.segment == p.segments - 1) {
        const Vector<S> v = Number<T>::result(h[i * N + n]);
        for (int lane = 0; lane < tile.lanes; ++lane) p.last[(run.b * p.channels + d + lane) * N + n] = v[lane];
      }
    }
  }
}

// Save a tile's states before chunk c for the backward pass.
template <class T, class S> INLINE void save(const Scan<S>& p, int64_t b, int64_t c, int64_t d, int lanes, const T* h) {
  const int64_t row = (b * ceil_div(p.length, CHUNK) + c) * p.state;
  for (int64_t n = 0; n < p.state; ++n)
    for (int part = 0; part < Number<T>::parts; ++part)
      store_lanes(p.saved[part] + (row + n) * p.channels + d, Number<T>::part(h[n], part), lanes);
}

// Scan a run of tiles. With OUTPUT false only the state that it leaves behind, starting from zero, goes to the borders.
template <bool OUTPUT, class T, class S>
static void forward_run(const Scan<S>& p, const Run& run, Borders<S>& borders, bool add) {
  const int64_t N = p.state;
  char* memory = (char*)scratch(sizeof(T) * run.tiles * (N + 1) + TileParameters<T, S>::bytes(p, run.tiles) +
                                2 * packed<T>(p));
  T *h = (T*)memory, *total = h + run.tiles * N;
  const TileParameters<T, S> own(p, total + run.tiles, run);
  S* pack_B = (S*)(own.bound + run.tiles);
  S* pack_C = (S*)((char*)pack_B + packed<T>(p));
  const Path path = p.path(run.g);
  enter<OUTPUT>(p, run, borders, h);
  for (int64_t i = 0; i < run.tiles; ++i) total[i] = T{};
  T u[CHUNK], z[CHUNK], step[CHUNK], input[CHUNK], y[CHUNK];
  Places next;
  for (int64_t c = run.begin; c < run.end; ++c) {
    const int steps = int(least(CHUNK, p.length - c * CHUNK));
    const Places places = places_of(path, c * CHUNK, steps);
    next = c + 1 < run.end ? places_of(path, (c + 1) * CHUNK, int(least(CHUNK, p.length - (c + 1) * CHUNK))) : places;
    Coefficients<T> B = pack<T>(p.B, pack_B, run.b, run.g, places, steps, N);
    Coefficients<T> C = OUTPUT ? pack<T>(p.C, pack_C, run.b, run.g, places, steps, N) : B;
    for (int64_t i = 0; i < run.tiles; ++i) {
      const Tile tile = tile_at(p, run.first + i);
      const int64_t d = channel_of(p, run.g, tile);
      if (OUTPUT && p.saved[0]) save(p, run.b, c, d, tile.lanes, h + i * N);
      load_steps(p, run, tile, places, steps, u, step, input);
      if (OUTPUT && p.z[0].data) load_numbers(z, p.z, run.b, run.g, tile.d, places, steps, tile.lanes);
      if (OUTPUT) {
        const T skip = load_number<T>(p.D, d, 1, tile.lanes);
        for (int t = 0; t < steps; ++t) y[t] = skip * u[t];
      } else {
        for (int t = 0; t < steps; ++t) total[i] += step[t];
      }
      B.constant = own.B + i * N, C.constant = own.C + i * N;
      Ahead ahead[4] = {nothing_ahead(places), nothing_ahead(places), nothing_ahead(places), nothing_ahead(places)};
      if (OUTPUT) ask_for_next(p, run, places, next, i, c + 1 < run.end, ahead);
      const bool fast = in_range<T, S>(step, steps, own.bound[i]);
      forward_states<OUTPUT>(p, fast, h + i * N, own.A + i * N, B, C, step, input, y, steps, ahead);
      if (!OUTPUT) continue;
      Vector<S> out[CHUNK];
      for (int t = 0; t < steps; ++t) out[t] = Number<T>::result(p.z[0].data ? y[t] * z[t] * sigmoid(z[t]) : y[t]);
      store_tile(out, p.y.at(run.b, run.g, tile.d), p.y, places, steps, tile.lanes, add);
    }
  }
  leave<OUTPUT>(p, run, borders, h, total);
}

template <class T, class S> static void run_forward(const Scan<S>& p) {
  const int64_t tiles = tiles_of(p), groups = p.merged ? 1 : p.groups, rows = p.batch * groups * p.segments;
  int64_t many = ceil_div(rows * tiles, 4 * p.threads);  // tiles are independent here: cut for balance
  many = many < 1 ? 1 : least(many, 8);
  const int64_t runs = ceil_div(tiles, many);
  Borders<S> borders(p, Number<T>::parts);
  auto each = [&](auto work) {
    parallel(rows * runs, p.threads, [&](int64_t item) {
      const int64_t row = item / runs, first = item % runs * many, segment = row % p.segments;
      const int64_t b = row / p.segments / groups, g = row / p.segments % groups;
      work(run_of(p, b, g, first, least(many, tiles - first), segment));
    });
  };
  if (p.segments > 1) {
    each([&](const Run& run) {
      if (run.segment + 1 < p.segments) forward_run<false, T>(p, run, borders, false);
    });
    join_segments<T>(p, borders, false);
  }
  each([&](Run run) {
    for (int64_t g = 0; g < (p.merged ? p.groups : 1); ++g) {
      if (p.merged) run.g = g;
      forward_run<true, T>(p, run, borders, g > 0);
    }
  });
}

}  // namespace ISA
