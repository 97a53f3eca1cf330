// The backward pass over one run of tiles: states are computed again from those saved before each chunk.
#pragma once

#include "scan_chunk.h"

namespace ISA {

constexpr int GROUP = 4;  // states at a time, so that their history and their sums stay in the first cache
constexpr int BLOCK = 8;  // tiles at a time, so that what is known of their chunk stays in the second

// One tile's chunk. grad_step holds the part through the decay, in units of exp2_units.
template <class T> struct TileChunk {
  T step[CHUNK], input[CHUNK], grad_y[CHUNK], y[CHUNK], grad_input[CHUNK], grad_step[CHUNK];
  T u[CHUNK], slope[CHUNK], gate_slope[CHUNK];
};

// Where COUNT states of a tile go through a chunk.
template <class T> struct StateWork {
  typedef decltype(Number<T>::result(T())) V;
  const T *A, *before;  // of these states
  T* carry;
  V* grad_A;
  V *sums_B, *sums_C;   // [step][COUNT], for all tiles of the run; or [COUNT] when constant
  Ahead read, write;
};

template <int COUNT, bool FAST, bool CB, bool CC, class T>
static INLINE void backward_steps(TileChunk<T>& x, const StateWork<T>& w, const Coefficients<T>& B,
                                  const Coefficients<T>& C, int n, int steps) {
  typedef typename StateWork<T>::V V;
  T h[(CHUNK + 1) * COUNT], decay[CHUNK * COUNT], A[COUNT];
  UNROLL for (int j = 0; j < COUNT; ++j) h[j] = w.before[j], A[j] = w.A[j];
  for (int t = 0; t < steps; ++t) {
    const T d = x.step[t], in = x.input[t];
    T y = x.y[t];
    ask(w.read, t);
    UNROLL for (int j = 0; j < COUNT; ++j) {
      const T a = decay_of<FAST>(d * A[j]);
      decay[t * COUNT + j] = a;
      const T next = a * h[t * COUNT + j] + in * B.template at<CB>(t, n + j);
      h[(t + 1) * COUNT + j] = next;
      y += next * C.template at<CC>(t, n + j);
    }
    x.y[t] = y;
  }
  T carry[COUNT];
  V grad_A[COUNT];
  UNROLL for (int j = 0; j < COUNT; ++j) carry[j] = w.carry[j], grad_A[j] = w.grad_A[j];
  for (int t = steps - 1; t >= 0; --t) {
    const T dy = x.grad_y[t], in = x.input[t], d = x.step[t];
    T through_input = x.grad_input[t], through_decay = x.grad_step[t];
    
    V *gb = w.sums_B + (CB ? 0 : t * COUNT), *gc = w.sums_C + (CC ? 0 : t * COUNT);
    ask<true>(w.write, t);
    UNROLL for (int j = 0; j < COUNT; ++j) {
      gc[j] += Number<T>::result(dy * h[(t + 1) * COUNT + j]);
      T g = carry[j] + dy * C.template at<CC>(t, n + j);
      gb[j] += Number<T>::result(g * in);
      through_input += g * B.template at<CB>(t, n + j);
      g = g * decay[t * COUNT + j];
      carry[j] = g;
      const T q = g * h[t * COUNT + j];
      through_decay += q * A[j];
      grad_A[j] += Number<T>::result(q * d);
    }
    x.grad_input[t] = through_input, x.grad_step[t] = through_decay;
  }
  UNROLL for (int j = 0; j < COUNT; ++j) w.carry[j] = carry[j], w.grad_A[j] = grad_A[j];
}

// What a chunk of the backward pass works on: all tiles of the run.
template <class T, class S> struct BackwardRun {
  typedef Vector<S> V;
  const Scan<S>& p;
  const Run& run;
  const TileParameters<T, S>& own;
  TileChunk<T>* chunks;  // [tile of the block]
  T* carry;              // [tile][state]
  V *grad_A, *sums_B, *sums_C, *grad_D, *grad_bias;
  Places places, next;   // of this chunk, and of the one whose inputs are asked for meanwhile
  int64_t next_block = 0;
  bool has_next = false;
};

// What is asked for while the states of group k of a tile are computed: one input of the tile that takes its place next,
// one output of its own.
template <class T, class S> INLINE Ahead next_input(const BackwardRun<T, S>& r, int64_t k, int64_t i) {
  const View<S>* const inputs[4] = {&r.p.u[0], &r.p.delta[0], &r.p.grad_y, &r.p.z[0]};
  if (!r.has_next || k >= 4 || !inputs[k]->data || inputs[k]->channel != 1 || r.next_block + i >= r.run.tiles)
    return nothing_ahead(r.places);
  return ahead_of(*inputs[k], inputs[k]->at(r.run.b, r.run.g, tile_at(r.p, r.run.first + r.next_block + i).d), r.next);
}
template <class T, class S> INLINE Ahead own_output(const BackwardRun<T, S>& r, int64_t k, int64_t i) {
  const Output<S>* const outputs[3] = {&r.p.grad_u, &r.p.grad_delta, &r.p.grad_z};
  if (k >= 3 || !outputs[k]->data) return nothing_ahead(r.places);
  return ahead_of(*outputs[k], outputs[k]->at(r.run.b, r.run.g, tile_at(r.p, r.run.first + i).d), r.places);
}

template <class T, class S>
static INLINE void load_chunk(const BackwardRun<T, S>& r, TileChunk<T>& x, const Tile& tile, const Places& places,
                              int steps) {
  const Scan<S>& p = r.p;
  const int64_t b = r.run.b, g = r.run.g, d = channel_of(p, g, tile);
  const T skip = load_number<T>(p.D, d, 1, tile.lanes), bias = load_number<T>(p.bias, d, 1, tile.lanes);
  load_numbers(x.u, p.u, b, g, tile.d, places, steps, tile.lanes);
  load_numbers(x.step, p.delta, b, g, tile.d, places, steps, tile.lanes);
  const View<S> grad_y[2] = {p.grad_y, {}};
  load_numbers(x.grad_y, grad_y, b, g, tile.d, places, steps, tile.lanes);
  for (int t = 0; t < steps; ++t) {
    x.step[t] += bias;
    if (p.softplus) softplus(T(x.step[t]), x.step[t], x.slope[t]);
    x.input[t] = x.step[t] * x.u[t];
    x.y[t] = skip * x.u[t];
    x.grad_input[t] = x.grad_step[t] = T{};
  }
  if (!p.z[0].data) return;
  T z[CHUNK];
  load_numbers(z, p.z, b, g, tile.d, places, steps, tile.lanes);
  for (int t = 0; t < steps; ++t) {
    const T open = sigmoid(z[t]), grad = x.grad_y[t];
    x.grad_y[t] = grad * z[t] * open;
    x.gate_slope[t] = grad * open * one_plus(z[t] * one_minus(open));
  }
}

template <class T, class S>
static INLINE void store_chunk(const BackwardRun<T, S>& r, const TileChunk<T>& x, int64_t i, const Tile& tile,
                               const Places& places, int steps, bool add) {
  typedef Number<T> N;
  const Scan<S>& p = r.p;
  const int64_t b = r.run.b, g = r.run.g;
  const T skip = load_number<T>(p.D, channel_of(p, g, tile), 1, tile.lanes);
  Vector<S> du[CHUNK], ddelta[CHUNK], grad_D = r.grad_D[i], grad_bias = r.grad_bias[i];
  for (int t = 0; t < steps; ++t) {
    T grad_step = scaled(x.grad_step[t], (S)(LN2 / UNITS<S>)) + x.grad_input[t] * x.u[t];
    if (p.softplus) grad_step = grad_step * x.slope[t];
    du[t] = N::result(x.grad_input[t] * x.step[t] + x.grad_y[t] * skip);
    ddelta[t] = N::result(grad_step);
    grad_D += N::result(x.grad_y[t] * x.u[t]);
    grad_bias += ddelta[t];
  }
  r.grad_D[i] = grad_D, r.grad_bias[i] = grad_bias;
  store_tile(du, p.grad_u.at(b, g, tile.d), p.grad_u, places, steps, tile.lanes, add);
  store_tile(ddelta, p.grad_delta.at(b, g, tile.d), p.grad_delta, places, steps, tile.lanes, false);
  if (!p.z[0].data) return;
  for (int t = 0; t < steps; ++t) du[t] = N::result(x.gate_slope[t] * x.y[t]);
  store_tile(du, p.grad_z.at(b, g, tile.d), p.grad_z, places, steps, tile.lanes, false);
}

// Add the lanes that stand for a channel: what infinity makes of the others must not be summed.
template <class V> static void add_lanes(V* sums, const V* part, int count, int lanes) {
  for (int k = 0; k < count; ++k)
    for (int i = 0; i < lanes; ++i) sums[k][i] += part[k][i];
}

// Take GROUP states after another through the chunk of all tiles of a block.
template <class T, class S>
static INLINE void backward_states(const BackwardRun<T, S>& r, Coefficients<T> B, Coefficients<T> C, int64_t c,
                                   int64_t block, int64_t count, int steps) {
  const Scan<S>& p = r.p;
  const int64_t N = p.state, chunks = ceil_div(p.length, CHUNK);
  bool fast = true;
  for (int64_t i = 0; i < count; ++i) fast &= in_range<T, S>(r.chunks[i].step, steps, r.own.bound[block + i]);
  auto group = [&](auto size, auto quick, auto cb, auto cc, int64_t n) {
    constexpr int COUNT = size.value;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = (block + i) * N + n;
      const Tile tile = tile_at(p, r.run.first + block + i);
      const int64_t saved = ((r.run.b * chunks + c) * N + n) * p.channels + channel_of(p, r.run.g, tile);
      T before[COUNT];
      for (int j = 0; j < COUNT; ++j)
        before[j] = load_number<T>(p.saved, saved + j * p.channels, 1, tile.lanes);
      B.constant = r.own.B + (block + i) * N, C.constant = r.own.C + (block + i) * N;
      StateWork<T> work = {r.own.A + at, before, r.carry + at, r.grad_A + at,
                           r.sums_B + (cb.value ? at : n * CHUNK), r.sums_C + (cc.value ? at : n * CHUNK),
                           next_input(r, n / GROUP, i), own_output(r, n / GROUP, block + i)};
      Vector<S> part_B[CHUNK * COUNT], part_C[CHUNK * COUNT];
      const bool partial = tile.lanes < LANES<S>;
      if (partial) {
        for (int k = 0; k < steps * COUNT; ++k) part_B[k] = part_C[k] = Vector<S>{};
        if (!cb.value) work.sums_B = part_B;
        if (!cc.value) work.sums_C = part_C;
      }
      backward_steps<COUNT, quick.value, cb.value, cc.value>(r.chunks[i], work, B, C, int(n), steps);
      if (partial && !cb.value) add_lanes(r.sums_B + n * CHUNK, part_B, steps * COUNT, tile.lanes);
      if (partial && !cc.value) add_lanes(r.sums_C + n * CHUNK, part_C, steps * COUNT, tile.lanes);
    }
  };
  specialise<T>(p, fast, [&](auto quick, auto cb, auto cc) {
    int64_t n = 0;
    for (; n + GROUP <= N; n += GROUP) group(std::integral_constant<int, GROUP>(), quick, cb, cc, n);
    for (; n < N; ++n) group(std::integral_constant<int, 1>(), quick, cb, cc, n);
  });
}

// Zero the sums of a chunk's steps.
template <class V> static void clear_sums(V* sums, int steps, int64_t N) {
  const int64_t whole = N / GROUP * GROUP;
  for (int64_t n = 0; n < N; n += n < whole ? GROUP : 1)
    for (int64_t i = 0; i < steps * (n < whole ? GROUP : 1); ++i) sums[n * CHUNK + i] = V{};
}

// Sum the lanes of a chunk's gradient of B or C, [group of states][step][state], into its slot.
template <class S>
static void reduce_chunk(const MatrixGradient<S>& to, const Vector<S>* sums, int64_t slot, const Run& run,
                         const Places& places, int steps, int64_t N) {
  constexpr int W = LANES<S>;
  S* p = to.data + slot * to.slot + run.b * to.batch + run.g * to.group;
  const int64_t whole = N / GROUP * GROUP;
  for (int t = 0; t < steps; ++t)
    for (int64_t n = 0; n < N; n += W) {
      const int lanes = int(least(W, N - n));
      Vector<S> x[W];
      for (int i = 0; i < lanes; ++i) {
        const int64_t k = n + i, first = k < whole ? k / GROUP * GROUP : k, size = k < whole ? GROUP : 1;
        x[i] = sums[first * CHUNK + t * size + (k - first)];
      }
      for (int i = lanes; i < W; ++i) x[i] = Vector<S>{};
      store_lanes(p + places.at[t] * to.time + n, lane_sums(x), lanes);
    }
}

template <class T, class S>
static void store_sums(const BackwardRun<T, S>& r) {
  const Scan<S>& p = r.p;
  const Run& run = r.run;
  const int64_t N = p.state, row = run.b * p.segments + run.segment;
  for (int64_t i = 0; i < run.tiles; ++i) {
    const Tile tile = tile_at(p, run.first + i);
    const int64_t d = channel_of(p, run.g, tile);
    store_lanes(p.grad_D + row * p.channels + d, r.grad_D[i], tile.lanes);
    store_lanes(p.grad_bias + row * p.channels + d, r.grad_bias[i], tile.lanes);
    for (int64_t n = 0; n < N; ++n) {
      const int64_t to = (row * N + n) * p.channels + d;
      store_lanes(p.grad_A + to, r.grad_A[i * N + n], tile.lanes);
      if (p.B.constant) store_lanes(p.grad_B.data + to, r.sums_B[i * N + n], tile.lanes);
      if (p.C.constant) store_lanes(p.grad_C.data + to, r.sums_C[i * N + n], tile.lanes);
      if (run.segment > 0) continue;
      const Vector<S> v = Number<T>::result(r.carry[i * N + n]);
      for (int lane = 0; lane < tile.lanes; ++lane) p.grad_initial[(run.b * p.channels + d + lane) * N + n] = v[lane];
    }
  }
}

template <class T, class S>
static void backward_run(const Scan<S>& p, const Run& run, const Borders<S>& borders, int64_t slot, bool add) {
  typedef Vector<S> V;
  const int64_t N = p.state, all = run.tiles * N, block_size = least(BLOCK, run.tiles);
  const int64_t size_B = p.B.constant ? all : CHUNK * N, size_C = p.C.constant ? all : CHUNK * N;
  char* memory = (char*)scratch(sizeof(TileChunk<T>) * block_size + sizeof(T) * all +
                                sizeof(V) * (all + size_B + size_C + 2 * run.tiles) +
                                TileParameters<T, S>::bytes(p, run.tiles) + 2 * packed<T>(p));
  TileChunk<T>* chunks = (TileChunk<T>*)memory;
  T* carry = (T*)(chunks + block_size);
  V *grad_A = (V*)(carry + all), *sums_B = grad_A + all, *sums_C = sums_B + size_B, *grad_D = sums_C + size_C;
  const TileParameters<T, S> own(p, grad_D + 2 * run.tiles, run);
  S* pack_B = (S*)(own.bound + run.tiles);
  S* pack_C = (S*)((char*)pack_B + packed<T>(p));
  BackwardRun<T, S> r = {p, run, own, chunks, carry, grad_A, sums_B, sums_C, grad_D, grad_D + run.tiles, {}, {}};
  for (V* v = grad_A; v < grad_D + 2 * run.tiles; ++v) *v = V{};
  const S* const grad_last[2] = {p.grad_last, nullptr};
  for (int64_t i = 0; i < run.tiles; ++i) {
    const Tile tile = tile_at(p, run.first + i);
    const int64_t d = channel_of(p, run.g, tile);
    for (int64_t n = 0; n < N; ++n)
      carry[i * N + n] = p.segments > 1 ? borders.template load<T>(run.b, run.segment, n, d, tile.lanes)
                                        : load_number<T>(grad_last, (run.b * p.channels + d) * N + n, N, tile.lanes);
  }
  const Path path = p.path(run.g);
  for (int64_t c = run.end - 1; c >= run.begin; --c) {
    const int steps = int(least(CHUNK, p.length - c * CHUNK));
    const Places places = places_of(path, c * CHUNK, steps);
    r.places = places;
    const Coefficients<T> B = pack<T>(p.B, pack_B, run.b, run.g, places, steps, N);
    const Coefficients<T> C = pack<T>(p.C, pack_C, run.b, run.g, places, steps, N);
    if (!p.B.constant) clear_sums(sums_B, steps, N);
    if (!p.C.constant) clear_sums(sums_C, steps, N);
    for (int64_t block = 0; block < run.tiles; block += BLOCK) {
      const int64_t count = least(BLOCK, run.tiles - block);
      const bool last_block = block + BLOCK >= run.tiles;
      r.has_next = !last_block || c > run.begin;
      r.next_block = last_block ? 0 : block + BLOCK;
      r.next = last_block && r.has_next ? places_of(path, (c - 1) * CHUNK, CHUNK) : places;
      for (int64_t i = 0; i < count; ++i) {
        const Tile tile = tile_at(p, run.first + block + i);
        const int64_t row = run.b * ceil_div(p.length, CHUNK) + c;
        const S* saved = p.saved[0] + row * N * p.channels + channel_of(p, run.g, tile);
        for (int64_t n = 0; n < N; ++n) __builtin_prefetch(saved + n * p.channels, 0, 2);
        load_chunk(r, chunks[i], tile, places, steps);
      }
      backward_states(r, B, C, c, block, count, steps);
      for (int64_t i = 0; i < count; ++i)
        store_chunk(r, chunks[i], block + i, tile_at(p, run.first + block + i), places, steps, add);
    }
    if (!p.B.constant) reduce_chunk(p.grad_B, sums_B, slot, run, places, steps, N);
    if (!p.C.constant) reduce_chunk(p.grad_C, sums_C, slot, run, places, steps, N);
  }
  store_sums(r);
}

// The carry that a segment alone hands to the one before it, and the steps it makes, go to the borders.
template <class T, class S> static void carry_run(const Scan<S>& p, const Run& run, Borders<S>& borders) {
  const int64_t N = p.state;
  char* memory = (char*)scratch(sizeof(T) * N + TileParameters<T, S>::bytes(p, 1) + packed<T>(p));
  T* carry = (T*)memory;
  for (int64_t i = 0; i < run.tiles; ++i) {
    Run one = run;
    one.first += i, one.tiles = 1;
    const TileParameters<T, S> own(p, carry + N, one);
    S* pack_C = (S*)(own.bound + 1);
    const Tile tile = tile_at(p, one.first);
    const int64_t d = channel_of(p, run.g, tile);
    const View<S> grad_views[2] = {p.grad_y, {}};
    const T bias = load_number<T>(p.bias, d, 1, tile.lanes);
    T total = {}, step[CHUNK], grad_y[CHUNK], z[CHUNK];
    for (int64_t n = 0; n < N; ++n) carry[n] = T{};
    for (int64_t c = run.end - 1; c >= run.begin; --c) {
      const int steps = int(least(CHUNK, p.length - c * CHUNK));
      const Places places = places_of(p.path(run.g), c * CHUNK, steps);
      Coefficients<T> C = pack<T>(p.C, pack_C, run.b, run.g, places, steps, N);
      C.constant = own.C;
      load_numbers(step, p.delta, run.b, run.g, tile.d, places, steps, tile.lanes);
      load_numbers(grad_y, grad_views, run.b, run.g, tile.d, places, steps, tile.lanes);
      if (p.z[0].data) load_numbers(z, p.z, run.b, run.g, tile.d, places, steps, tile.lanes);
      for (int t = steps - 1; t >= 0; --t) {
        T d = step[t] + bias, slope;
        if (p.softplus) softplus(T(d), d, slope);
        const T dy = p.z[0].data ? grad_y[t] * z[t] * sigmoid(z[t]) : grad_y[t];
        total += d;
        for (int64_t n = 0; n < N; ++n) {
          const T read = p.C.constant ? dy * C.template at<true>(t, int(n)) : dy * C.template at<false>(t, int(n));
          carry[n] = (carry[n] + read) * exp2_clamped(d * own.A[n]);
        }
      }
    }
    borders.store_steps(total, run.b, run.segment, d, tile.lanes);
    for (int64_t n = 0; n < N; ++n) borders.store(carry[n], run.b, run.segment, n, d, tile.lanes);
  }
}

template <class T, class S> static void run_backward(const Scan<S>& p) {
  const int64_t tiles = tiles_of(p), groups = p.merged ? 1 : p.groups;
  Borders<S> borders(p, Number<T>::parts);
  auto each = [&](auto work) {
    parallel(p.batch * groups * p.segments * p.slots, p.threads, [&](int64_t item) {
      const int64_t row = item / p.slots, slot = item % p.slots, segment = row % p.segments;
      const int64_t b = row / p.segments / groups, g = row / p.segments % groups;
      const int64_t first = tiles * slot / p.slots, end = tiles * (slot + 1) / p.slots;
      work(run_of(p, b, g, first, end - first, segment), slot);
    });
  };
  if (p.segments > 1) {
    each([&](const Run& run, int64_t) {
      if (run.segment > 0) carry_run<T>(p, run, borders);
    });
    join_segments<T>(p, borders, true);
  }
  each([&](Run run, int64_t slot) {
    for (int64_t g = 0; g < (p.merged ? p.groups : 1); ++g) {
      if (p.merged) run.g = g;
      backward_run<T>(p, run, borders, slot, g > 0);
    }
  });
}

}  // namespace ISA
