// The selective scan for one instruction set. Names and equations follow ops/scan.py; shapes were checked there.
// A tile is W channels; the state of a tile stays in registers over a chunk of steps. Items of work are runs of
// tiles of one batch row and group, cut the same way for any number of threads, so results do not depend on it.
#include "tile.h"

namespace ISA {

// B or C at one batch row, group and chunk: broadcast over the lanes, or one number per lane.
template <class T> struct Coefficients {
  typedef typename Number<T>::S S;
  const S* p[2];
  int64_t time[2];
  const T* constant;
  template <bool CONSTANT> INLINE auto at(int64_t t, int n) const {
    if constexpr (CONSTANT) {
      return constant[n];
    } else if constexpr (Number<T>::parts == 1) {
      return p[0][t * time[0] + n];
    } else {
      return DualScalar<S>{p[0][t * time[0] + n], p[1][t * time[1] + n]};
    }
  }
};

template <class T, class S>
INLINE Coefficients<T> coefficients(const Matrix<S>& m, const T* constant, int64_t b, int64_t g, int64_t t) {
  Coefficients<T> c = {{nullptr, nullptr}, {m.time[0], m.time[1]}, constant};
  if (m.constant) return c;
  for (int i = 0; i < Number<T>::parts; ++i) c.p[i] = m.data[i] + b * m.batch[i] + g * m.group[i] + t * m.time[i];
  return c;
}

// The i-th tile of a group; a tile never reaches into the next group.
template <class S> INLINE Tile tile_at(const Scan<S>& p, int64_t g, int64_t i) {
  const int64_t width = p.channels / p.groups, first = i * LANES<S>;
  return {g * width + first, int(least(LANES<S>, width - first))};
}

template <int COUNT, bool CB, bool CC, class T>
static INLINE void forward_steps(T* state, const T* A, const Coefficients<T>& B, const Coefficients<T>& C, int n,
                                 const T* step, const T* input, T* y, int steps) {
  T h[COUNT];
  UNROLL for (int j = 0; j < COUNT; ++j) h[j] = state[j];
  for (int t = 0; t < steps; ++t) {
    const T d = step[t], x = input[t];
    T even = y[t], odd = {};
    UNROLL for (int j = 0; j < COUNT; ++j) {
      h[j] = exp2(d * A[j]) * h[j] + x * B.template at<CB>(t, n + j);
      if (j & 1) {
        odd += h[j] * C.template at<CC>(t, n + j);
      } else {
        even += h[j] * C.template at<CC>(t, n + j);
      }
    }
    y[t] = even + odd;
  }
  UNROLL for (int j = 0; j < COUNT; ++j) state[j] = h[j];
}

template <class T>
static INLINE void forward_states(T* h, const T* A, const Coefficients<T>& B, const Coefficients<T>& C, int state,
                                  const T* step, const T* input, T* y, int steps) {
  constexpr int MANY = VECTOR_BYTES == 64 && Number<T>::parts == 1 ? 16 : 4;
  auto run = [&](auto cb, auto cc) {
    int n = 0;
    for (; n + MANY <= state; n += MANY)
      forward_steps<MANY, cb.value, cc.value>(h + n, A + n, B, C, n, step, input, y, steps);
    for (; n + 4 <= state; n += 4) forward_steps<4, cb.value, cc.value>(h + n, A + n, B, C, n, step, input, y, steps);
    for (; n < state; ++n) forward_steps<1, cb.value, cc.value>(h + n, A + n, B, C, n, step, input, y, steps);
  };
  typedef std::integral_constant<bool, true> Yes;
  typedef std::integral_constant<bool, false> No;
  if (!B.constant && !C.constant) return run(No(), No());
  if (B.constant && C.constant) return run(Yes(), Yes());
  if (B.constant) return run(Yes(), No());
  run(No(), Yes());
}

// Per-channel parameters of a run of tiles, brought to one number per lane.
template <class T, class S> struct TileParameters {
  T *A, *B, *C;  // [tile][state], B and C only when constant
  static size_t count(const Scan<S>& p) { return p.state * (1 + p.B.constant + p.C.constant); }
  TileParameters(const Scan<S>& p, T* memory, int64_t g, int64_t first, int64_t tiles) {
    A = memory;
    B = A + tiles * p.state;
    C = B + tiles * p.state * p.B.constant;
    for (int64_t i = 0; i < tiles; ++i) {
      const Tile tile = tile_at(p, g, first + i);
      for (int64_t n = 0; n < p.state; ++n) {
        const int64_t from = tile.d * p.state + n, to = i * p.state + n;
        A[to] = scaled(load_number<T>(p.A, from, p.state, tile.lanes), (S)LOG2E);
        if (p.B.constant) B[to] = load_number<T>(p.B.data, from, p.state, tile.lanes);
        if (p.C.constant) C[to] = load_number<T>(p.C.data, from, p.state, tile.lanes);
      }
    }
  }
};

template <class T, class S>
static void forward_item(const Scan<S>& p, int64_t b, int64_t g, int64_t first, int64_t tiles) {
  const int64_t N = p.state, chunks = ceil_div(p.length, CHUNK);
  T* h = (T*)scratch(sizeof(T) * tiles * (N + TileParameters<T, S>::count(p)));
  const TileParameters<T, S> own(p, h + tiles * N, g, first, tiles);
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, g, first + i);
    for (int64_t n = 0; n < N; ++n)
      h[i * N + n] = load_number<T>(p.initial, (b * p.channels + tile.d) * N + n, N, tile.lanes);
  }
  T u[CHUNK], z[CHUNK], step[CHUNK], input[CHUNK], y[CHUNK];
  for (int64_t c = 0; c < chunks; ++c) {
    const int64_t t0 = c * CHUNK;
    const int steps = int(least(CHUNK, p.length - t0));
    for (int64_t i = 0; i < tiles; ++i) {
      const Tile tile = tile_at(p, g, first + i);
      const int64_t d = tile.d;
      if (p.saved[0]) {
        for (int64_t n = 0; n < N; ++n)
          for (int part = 0; part < Number<T>::parts; ++part)
            store_lanes(p.saved[part] + ((b * chunks + c) * N + n) * p.channels + d,
                        Number<T>::part(h[i * N + n], part), tile.lanes);
      }
      load_numbers(u, p.u, b, d, t0, steps, tile.lanes);
      load_numbers(step, p.delta, b, d, t0, steps, tile.lanes);
      if (p.z[0].data) load_numbers(z, p.z, b, d, t0, steps, tile.lanes);
      if (i + 1 < tiles) {
        prefetch_tile(p.u[0], b, d + LANES<S>, t0, steps);
        prefetch_tile(p.delta[0], b, d + LANES<S>, t0, steps);
        prefetch_tile(p.z[0], b, d + LANES<S>, t0, steps);
      }
      const T skip = load_number<T>(p.D, d, 1, tile.lanes), bias = load_number<T>(p.bias, d, 1, tile.lanes);
      for (int t = 0; t < steps; ++t) {
        step[t] += bias;
        T slope;
        if (p.softplus) softplus(T(step[t]), step[t], slope);
        input[t] = step[t] * u[t];
        y[t] = skip * u[t];
      }
      forward_states(h + i * N, own.A + i * N, coefficients<T>(p.B, p.B.constant ? own.B + i * N : nullptr, b, g, t0),
                     coefficients<T>(p.C, p.C.constant ? own.C + i * N : nullptr, b, g, t0), int(N), step, input, y,
                     steps);
      Vector<S> out[CHUNK];
      for (int t = 0; t < steps; ++t)
        out[t] = Number<T>::result(p.z[0].data ? y[t] * z[t] * sigmoid(z[t]) : y[t]);
      store_tile(out, p.y.at(b, d, t0), p.y.time, steps, tile.lanes);
    }
  }
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, g, first + i);
    for (int64_t n = 0; n < N; ++n) {
      const Vector<S> v = Number<T>::result(h[i * N + n]);
      for (int lane = 0; lane < tile.lanes; ++lane) p.last[(b * p.channels + tile.d + lane) * N + n] = v[lane];
    }
  }
}

// What one tile carries through a chunk of the backward pass.
template <class T> struct BackwardTile {
  typedef decltype(Number<T>::result(T())) V;
  const T *A, *step, *input, *grad_y;
  T *carry, *y, *grad_input, *grad_step;  // grad_step holds the part through the decay, in units of 1 / ln 2
  V *grad_A, *grad_B, *grad_C;
  int64_t stride_B, stride_C;  // between steps; 0 when constant in time
};

template <int COUNT, bool CB, bool CC, class T>
static INLINE void backward_steps(const BackwardTile<T>& x, const T* before, const Coefficients<T>& B,
                                  const Coefficients<T>& C, int n, int steps, T* h, T* decay) {
  const T* A = x.A + n;
  UNROLL for (int j = 0; j < COUNT; ++j) h[j] = before[j];
  for (int t = 0; t < steps; ++t) {
    const T d = x.step[t], in = x.input[t];
    T y = x.y[t];
    UNROLL for (int j = 0; j < COUNT; ++j) {
      const T a = exp2(d * A[j]);
      decay[t * COUNT + j] = a;
      const T next = a * h[t * COUNT + j] + in * B.template at<CB>(t, n + j);
      h[(t + 1) * COUNT + j] = next;
      y += next * C.template at<CC>(t, n + j);
    }
    x.y[t] = y;
  }
  typedef typename BackwardTile<T>::V V;
  T carry[COUNT];
  V grad_A[COUNT];
  UNROLL for (int j = 0; j < COUNT; ++j) carry[j] = x.carry[n + j], grad_A[j] = x.grad_A[n + j];
  for (int t = steps - 1; t >= 0; --t) {
    const T dy = x.grad_y[t], in = x.input[t], d = x.step[t];
    T through_input = x.grad_input[t], through_decay = x.grad_step[t];
    V *gb = x.grad_B + t * x.stride_B + n, *gc = x.grad_C + t * x.stride_C + n;
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
  UNROLL for (int j = 0; j < COUNT; ++j) x.carry[n + j] = carry[j], x.grad_A[n + j] = grad_A[j];
}

constexpr int GROUP = 4;  // states at a time in the backward pass, so that their history stays in the first cache

template <class T, class S>
static INLINE void backward_states(const Scan<S>& p, const BackwardTile<T>& x, int64_t saved, const Coefficients<T>& B,
                                   const Coefficients<T>& C, int steps, int lanes) {
  T h[(CHUNK + 1) * GROUP], decay[CHUNK * GROUP], before[GROUP];
  auto load_before = [&](int n, int count) {
    for (int j = 0; j < count; ++j) before[j] = load_number<T>(p.saved, saved + (n + j) * p.channels, 1, lanes);
  };
  auto run = [&](auto cb, auto cc) {
    int n = 0;
    for (; n + GROUP <= p.state; n += GROUP) {
      load_before(n, GROUP);
      backward_steps<GROUP, cb.value, cc.value>(x, before, B, C, n, steps, h, decay);
    }
    for (; n < p.state; ++n) {
      load_before(n, 1);
      backward_steps<1, cb.value, cc.value>(x, before, B, C, n, steps, h, decay);
    }
  };
  typedef std::integral_constant<bool, true> Yes;
  typedef std::integral_constant<bool, false> No;
  if (!B.constant && !C.constant) return run(No(), No());
  if (B.constant && C.constant) return run(Yes(), Yes());
  if (B.constant) return run(Yes(), No());
  run(No(), Yes());
}

// The inputs of one tile and chunk, as the backward pass needs them.
template <class T> struct Chunk {
  T u[CHUNK], z[CHUNK], step[CHUNK], slope[CHUNK], input[CHUNK], y[CHUNK], grad_y[CHUNK], gate_slope[CHUNK];
  T grad_input[CHUNK], grad_step[CHUNK];
};

template <class T, class S>
static INLINE void load_chunk(const Scan<S>& p, Chunk<T>& x, int64_t b, const Tile& tile, int64_t t0, int steps,
                              const T& skip, const T& bias) {
  load_numbers(x.u, p.u, b, tile.d, t0, steps, tile.lanes);
  load_numbers(x.step, p.delta, b, tile.d, t0, steps, tile.lanes);
  const View<S> grad_y[2] = {p.grad_y, {}};
  load_numbers(x.grad_y, grad_y, b, tile.d, t0, steps, tile.lanes);
  const bool gated = p.z[0].data;
  if (gated) load_numbers(x.z, p.z, b, tile.d, t0, steps, tile.lanes);
  for (int t = 0; t < steps; ++t) {
    x.step[t] += bias;
    if (p.softplus) softplus(T(x.step[t]), x.step[t], x.slope[t]);
    x.input[t] = x.step[t] * x.u[t];
    x.y[t] = skip * x.u[t];
    x.grad_input[t] = x.grad_step[t] = T{};
    if (gated) {
      const T z = x.z[t], open = sigmoid(z), grad = x.grad_y[t];
      x.grad_y[t] = grad * z * open;
      x.gate_slope[t] = grad * open * one_plus(z * one_minus(open));
    }
  }
}

template <class T, class S>
static INLINE void store_chunk(const Scan<S>& p, const Chunk<T>& x, int64_t b, const Tile& tile, int64_t t0, int steps,
                               const T& skip, Vector<S>& grad_D, Vector<S>& grad_bias) {
  typedef Number<T> N;
  Vector<S> du[CHUNK], ddelta[CHUNK];
  for (int t = 0; t < steps; ++t) {
    T grad_step = scaled(x.grad_step[t], (S)LN2) + x.grad_input[t] * x.u[t];
    if (p.softplus) grad_step = grad_step * x.slope[t];
    du[t] = N::result(x.grad_input[t] * x.step[t] + x.grad_y[t] * skip);
    ddelta[t] = N::result(grad_step);
    grad_D += N::result(x.grad_y[t] * x.u[t]);
    grad_bias += ddelta[t];
  }
  store_tile(du, p.grad_u.at(b, tile.d, t0), p.grad_u.time, steps, tile.lanes);
  store_tile(ddelta, p.grad_delta.at(b, tile.d, t0), p.grad_delta.time, steps, tile.lanes);
  if (!p.z[0].data) return;
  for (int t = 0; t < steps; ++t) du[t] = N::result(x.gate_slope[t] * x.y[t]);
  store_tile(du, p.grad_z.at(b, tile.d, t0), p.grad_z.time, steps, tile.lanes);
}

// Sum the lanes of a chunk's gradient of B or C into its slot.
template <class S>
static INLINE void reduce_chunk(const MatrixGradient<S>& to, const Vector<S>* sums, int64_t slot, int64_t b, int64_t g,
                                int64_t t0, int steps, int64_t N) {
  S* p = to.data + slot * to.slot + b * to.batch + g * to.group + t0 * to.time;
  for (int t = 0; t < steps; ++t)
    for (int64_t n = 0; n < N; ++n) p[t * to.time + n] = lane_sum(sums[t * N + n]);
}

template <class T, class S>
static void backward_item(const Scan<S>& p, int64_t b, int64_t g, int64_t slot, int64_t first, int64_t tiles) {
  typedef Vector<S> V;
  const int64_t N = p.state, chunks = ceil_div(p.length, CHUNK), all = tiles * N;
  const int64_t rows_B = p.B.constant ? tiles : CHUNK, rows_C = p.C.constant ? tiles : CHUNK;
  const size_t numbers = all + tiles * TileParameters<T, S>::count(p);
  T* carry = (T*)scratch(sizeof(T) * numbers + sizeof(V) * (all + (rows_B + rows_C) * N + 2 * tiles));
  const TileParameters<T, S> own(p, carry + all, g, first, tiles);
  V *grad_A = (V*)(carry + numbers), *sums_B = grad_A + all, *sums_C = sums_B + rows_B * N;
  V *grad_D = sums_C + rows_C * N, *grad_bias = grad_D + tiles;
  for (V* v = grad_A; v < grad_bias + tiles; ++v) *v = V{};
  const S* const grad_last[2] = {p.grad_last, nullptr};
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, g, first + i);
    for (int64_t n = 0; n < N; ++n)
      carry[i * N + n] = load_number<T>(grad_last, (b * p.channels + tile.d) * N + n, N, tile.lanes);
  }
  Chunk<T> x;
  for (int64_t c = chunks - 1; c >= 0; --c) {
    const int64_t t0 = c * CHUNK;
    const int steps = int(least(CHUNK, p.length - t0));
    if (!p.B.constant)
      for (int64_t i = 0; i < steps * N; ++i) sums_B[i] = V{};
    if (!p.C.constant)
      for (int64_t i = 0; i < steps * N; ++i) sums_C[i] = V{};
    for (int64_t i = 0; i < tiles; ++i) {
      const Tile tile = tile_at(p, g, first + i);
      const T skip = load_number<T>(p.D, tile.d, 1, tile.lanes), bias = load_number<T>(p.bias, tile.d, 1, tile.lanes);
      load_chunk(p, x, b, tile, t0, steps, skip, bias);
      if (i + 1 < tiles) {
        prefetch_tile(p.u[0], b, tile.d + LANES<S>, t0, steps);
        prefetch_tile(p.delta[0], b, tile.d + LANES<S>, t0, steps);
        prefetch_tile(p.grad_y, b, tile.d + LANES<S>, t0, steps);
        prefetch_tile(p.z[0], b, tile.d + LANES<S>, t0, steps);
      }
      const BackwardTile<T> work = {own.A + i * N,
                                    x.step,
                                    x.input,
                                    x.grad_y,
                                    carry + i * N,
                                    x.y,
                                    x.grad_input,
                                    x.grad_step,
                                    grad_A + i * N,
                                    p.B.constant ? sums_B + i * N : sums_B,
                                    p.C.constant ? sums_C + i * N : sums_C,
                                    p.B.constant ? 0 : N,
                                    p.C.constant ? 0 : N};
      backward_states(p, work, (b * chunks + c) * N * p.channels + tile.d,
                      coefficients<T>(p.B, p.B.constant ? own.B + i * N : nullptr, b, g, t0),
                      coefficients<T>(p.C, p.C.constant ? own.C + i * N : nullptr, b, g, t0), steps, tile.lanes);
      store_chunk(p, x, b, tile, t0, steps, skip, grad_D[i], grad_bias[i]);
    }
    if (!p.B.constant) reduce_chunk(p.grad_B, sums_B, slot, b, g, t0, steps, N);
    if (!p.C.constant) reduce_chunk(p.grad_C, sums_C, slot, b, g, t0, steps, N);
  }
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, g, first + i);
    store_lanes(p.grad_D + b * p.channels + tile.d, grad_D[i], tile.lanes);
    store_lanes(p.grad_bias + b * p.channels + tile.d, grad_bias[i], tile.lanes);
    for (int64_t n = 0; n < N; ++n) {
      const int64_t to = (b * N + n) * p.channels + tile.d;
      store_lanes(p.grad_A + to, grad_A[i * N + n], tile.lanes);
      if (p.B.constant) store_lanes(p.grad_B.data + to, sums_B[i * N + n], tile.lanes);
      if (p.C.constant) store_lanes(p.grad_C.data + to, sums_C[i * N + n], tile.lanes);
      const V v = Number<T>::result(carry[i * N + n]);
      for (int lane = 0; lane < tile.lanes; ++lane)
        p.grad_initial[(b * p.channels + tile.d + lane) * N + n] = v[lane];
    }
  }
}

template <class T, class S> static void run_forward(const Scan<S>& p) {
  const int64_t tiles = ceil_div(p.channels / p.groups, LANES<S>), rows = p.batch * p.groups;
  int64_t run = ceil_div(rows * tiles, 4 * p.threads);  // tiles are independent here: cut for balance
  run = run < 1 ? 1 : least(run, 8);
  const int64_t runs = ceil_div(tiles, run);
  parallel(rows * runs, p.threads, [&](int64_t item) {
    const int64_t row = item / runs, first = item % runs * run;
    forward_item<T>(p, row / p.groups, row % p.groups, first, least(run, tiles - first));
  });
}

template <class T, class S> static void run_backward(const Scan<S>& p) {
  const int64_t tiles = ceil_div(p.channels / p.groups, LANES<S>);
  parallel(p.batch * p.groups * p.slots, p.threads, [&](int64_t item) {
    const int64_t row = item / p.slots, slot = item % p.slots;
    const int64_t first = tiles * slot / p.slots, end = tiles * (slot + 1) / p.slots;
    backward_item<T>(p, row / p.groups, row % p.groups, slot, first, end - first);
  });
}

template <class S> static void forward(const Scan<S>& p) { run_forward<Vector<S>>(p); }
template <class S> static void backward(const Scan<S>& p) { run_backward<Vector<S>>(p); }
template <class S> static void second(const Scan<S>& p) {
  run_forward<Dual<Vector<S>>>(p);
  run_backward<Dual<Vector<S>>>(p);
}

template <class S> static void fill(Kernels<S>& kernels) {
  kernels.scan_forward = forward<S>;
  kernels.scan_backward = backward<S>;
  kernels.scan_second = second<S>;
}
void scan_kernels(Kernels<float>& single, Kernels<double>& twice) {
  fill(single);
  fill(twice);
}

}  // namespace ISA
