// The short depthwise convolution, with bias and SiLU, for one instruction set.
// y[t] = f(a[t]), a[t] = bias + sum_j weight[j] x[t - left + j]; x is zero outside the sequence.
#include "tile.h"

namespace ISA {

constexpr int ROWS = CHUNK;  // steps of output at a time, at most
constexpr int AHEAD = 2;     // tiles between the one whose memory is fetched and the one that is computed

// How many steps and how many neighbouring tiles take turns. In channel-last memory few steps of many tiles are as many
// streams of memory, each in order; else a step's neighbours lie along time.
struct Turns {
  int rows;
  int64_t tiles;
};
template <class S> static Turns turns_of(const Conv<S>& p) {
  const bool streams = p.x[0].channel == 1 && (!p.grad_y.data || p.grad_y.channel == 1);
  return streams ? Turns{16, 64} : Turns{ROWS, 8};
}

// Load rows [from, from + count) of x, zero outside the sequence.
template <class T, class S>
static INLINE void load_rows(T* rows, const View<S> (&x)[2], int64_t b, int64_t d, int64_t from, int64_t count,
                             const Path& path, int lanes) {
  int64_t i = 0;
  for (; i < count && from + i < 0; ++i) rows[i] = T{};
  const int64_t inside = least(count, path.length - from);
  for (; i < inside; i += CHUNK) {
    const int steps = int(least(CHUNK, inside - i));
    load_numbers(rows + i, x, b, 0, d, places_of(path, from + i, steps), steps, lanes);
  }
  for (i = inside < 0 ? 0 : inside; i < count; ++i) rows[i] = T{};
}

// Load the next rows of a window, at places that its neighbours share: so many that exist, and zeros for the others.
template <class T, class S>
static INLINE void load_next(T* rows, const View<S> (&x)[2], int64_t b, int64_t d, const Places& places, int inside,
                             int count, int lanes) {
  if (inside > 0) load_numbers(rows, x, b, 0, d, places, inside, lanes);
  for (int i = inside > 0 ? inside : 0; i < count; ++i) rows[i] = T{};
}

// Fetch the lines that the tile after next will write: a line that is not there is waited for, though it is overwritten.
template <class S>
static INLINE void prefetch_output(const Output<S>& v, int64_t b, int64_t d, const Places& places, int steps) {
  char* const p = v.at(b, 0, d);
  const int64_t time = v.time * v.bytes();
  for (int t = 0; t < steps; ++t) __builtin_prefetch(p + places.at[t] * time, 1, 3);
}

// WIDTH is the number of taps where the compiler is to know it, so that they and their sums stay in registers; else 0.
template <int WIDTH, class T> static INLINE T tap_sum(const T* x, const T* weight, int64_t width, T sum) {
  if constexpr (WIDTH == 4) {
    return sum + x[0] * weight[0] + x[1] * weight[1] + (x[2] * weight[2] + x[3] * weight[3]);
  } else {
    for (int64_t j = 0; j < width; ++j) sum += x[j] * weight[j];
    return sum;
  }
}

template <class T, class S> static INLINE void load_taps(T* weight, const Conv<S>& p, const Tile& tile) {
  for (int64_t j = 0; j < p.width; ++j)
    weight[j] = load_number<T>(p.weight, tile.d * p.width + j, p.width, tile.lanes);
  weight[p.width] = load_number<T>(p.bias, tile.d, 1, tile.lanes);
}

template <class S> static INLINE Tile tile_at(const Conv<S>& p, int64_t i) {
  return {i * LANES<S>, int(least(LANES<S>, p.channels - i * LANES<S>))};
}

// The rows of one tile: its window of x, of `halo` rows before those of the chunk, and its taps and bias.
template <int WIDTH, class T, class S>
static void forward_rows(const Conv<S>& p, int64_t b, const Tile& tile, T* x, const T* taps, int steps, int inside,
                         const Places& from, const Places& to) {
  const int64_t width = WIDTH ? WIDTH : p.width, halo = width - 1;
  load_next(x + halo, p.x, b, tile.d, from, inside, steps, tile.lanes);
  const T bias = taps[width];
  Vector<S> y[ROWS];
  if (p.silu) {
    for (int t = 0; t < steps; ++t) {
      const T a = tap_sum<WIDTH>(x + t, taps, width, bias);
      y[t] = Number<T>::result(a * sigmoid(a));
    }
  } else {
    for (int t = 0; t < steps; ++t) y[t] = Number<T>::result(tap_sum<WIDTH>(x + t, taps, width, bias));
  }
  store_tile(y, p.y.at(b, 0, tile.d), p.y, to, steps, tile.lanes, false);
  for (int64_t i = 0; i < halo; ++i) x[i] = x[steps + i];
}

// Neighbouring tiles take turns chunk by chunk, because their rows share pages of memory.
template <int WIDTH, class T, class S>
static void forward_item(const Conv<S>& p, int64_t b, int64_t first_tile, int64_t tiles, int rows) {
  const int64_t halo = p.width - 1, right = halo - p.left, each = p.width + 1 + halo + rows;
  const Path path = {p.length, 1, false, p.reverse};
  T* const memory = (T*)scratch(sizeof(T) * each * tiles);
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, first_tile + i);
    load_taps(memory + i * each, p, tile);
    load_rows(memory + i * each + p.width + 1, p.x, b, tile.d, -p.left, halo, path, tile.lanes);
  }
  for (int64_t t0 = 0; t0 < p.length; t0 += rows) {
    const int steps = int(least(rows, p.length - t0)), inside = int(least(steps, p.length - t0 - right));
    const Places from = places_of(path, t0 + right, inside), to = places_of(path, t0, steps);
    for (int64_t i = 0; i < tiles; ++i) {
      T* const taps = memory + i * each;
      if (i + AHEAD < tiles) {
        const int64_t d = tile_at(p, first_tile + i + AHEAD).d;
        if (inside > 0) prefetch_tile(p.x[0], b, 0, d, from, inside);
        prefetch_output(p.y, b, d, to, steps);
      }
      forward_rows<WIDTH>(p, b, tile_at(p, first_tile + i), taps + p.width + 1, taps, steps, inside, from, to);
    }
  }
}

// What the backward pass keeps of one tile between chunks.
template <class T, class V> struct Window {
  T *taps;                      // (width + 1): the last is the bias
  T *x, *grad;                  // (2 halo + ROWS), (halo + ROWS)
  V *grad_weight, *grad_bias;   // (width), one
  static int64_t bytes(int64_t width, int rows) {
    return sizeof(T) * (width + 1 + 3 * (width - 1) + 2 * rows) + sizeof(V) * (width + 1);
  }
  Window(char* memory, int64_t width, int rows) {
    taps = (T*)memory, x = taps + width + 1, grad = x + 2 * (width - 1) + rows;
    grad_weight = (V*)(grad + width - 1 + rows), grad_bias = grad_weight + width;
  }
};

// From the gradients of y to those of a = conv(x), for rows [from, to) of the window.
template <int WIDTH, class T, class S>
static INLINE void through_silu(const Conv<S>& p, T* grad, const T* x, const T* taps, int64_t from, int64_t to) {
  const int64_t width = WIDTH ? WIDTH : p.width;
  const T bias = taps[width];
  if (!p.silu) return;
  for (int64_t i = from; i < to; ++i) {
    const T a = tap_sum<WIDTH>(x + i, taps, width, bias), open = sigmoid(a);
    grad[i] = grad[i] * open * one_plus(a * one_minus(open));
  }
}

// With x[i] that of step t0 - halo + i and grad[i] that of t0 - right + i. The gradient of x at s needs that of a on
// [s - right, s + left], which needs x on `halo` rows to each side.
template <int WIDTH, class T, class S>
static void backward_rows(const Conv<S>& p, const Window<T, Vector<S>>& w, int steps, Vector<S>* out) {
  typedef Vector<S> V;
  const int64_t width = WIDTH ? WIDTH : p.width, halo = width - 1, right = halo - p.left;
  if constexpr (WIDTH > 0) {
    T taps[WIDTH];
    V sums[WIDTH], bias_sum = *w.grad_bias;
    UNROLL for (int j = 0; j < WIDTH; ++j) taps[j] = w.taps[j], sums[j] = w.grad_weight[j];
    for (int t = 0; t < steps; ++t) {
      T sum = {};
      UNROLL for (int j = 0; j < WIDTH; ++j) sum += w.grad[t + halo - j] * taps[j];
      out[t] = Number<T>::result(sum);
      const T g = w.grad[t + right];
      UNROLL for (int j = 0; j < WIDTH; ++j) sums[j] += Number<T>::result(g * w.x[t + right + j]);
      bias_sum += Number<T>::result(g);
    }
    UNROLL for (int j = 0; j < WIDTH; ++j) w.grad_weight[j] = sums[j];
    *w.grad_bias = bias_sum;
  } else {
    for (int t = 0; t < steps; ++t) {
      T sum = {};
      for (int64_t j = 0; j < width; ++j) sum += w.grad[t + halo - j] * w.taps[j];
      out[t] = Number<T>::result(sum);
      const T g = w.grad[t + right];
      for (int64_t j = 0; j < width; ++j) w.grad_weight[j] += Number<T>::result(g * w.x[t + right + j]);
      *w.grad_bias += Number<T>::result(g);
    }
  }
}

template <int WIDTH, class T, class S>
static void begin_backward(const Conv<S>& p, int64_t b, const Tile& tile, const Path& path,
                           const Window<T, Vector<S>>& w) {
  const int64_t halo = p.width - 1, right = halo - p.left;
  const View<S> grad_y[2] = {p.grad_y, {}};
  load_taps(w.taps, p, tile);
  load_rows(w.x, p.x, b, tile.d, -halo, 2 * halo, path, tile.lanes);
  load_rows(w.grad, grad_y, b, tile.d, -right, halo, path, tile.lanes);
  through_silu<WIDTH>(p, w.grad, w.x, w.taps, right, least(halo, right + p.length));
  for (int64_t j = 0; j <= p.width; ++j) w.grad_weight[j] = Vector<S>{};
}

template <int WIDTH, class T, class S>
static void backward_item(const Conv<S>& p, int64_t b, int64_t first_tile, int64_t tiles, int rows) {
  typedef Vector<S> V;
  const int64_t width = p.width, halo = width - 1, each = Window<T, V>::bytes(width, rows);
  const Path path = {p.length, 1, false, p.reverse};
  const View<S> grad_y[2] = {p.grad_y, {}};
  char* const memory = (char*)scratch(each * tiles);
  for (int64_t i = 0; i < tiles; ++i)
    begin_backward<WIDTH>(p, b, tile_at(p, first_tile + i), path, Window<T, V>(memory + i * each, width, rows));
  for (int64_t t0 = 0; t0 < p.length; t0 += rows) {
    const int steps = int(least(rows, p.length - t0));
    const int x_inside = int(least(steps, p.length - t0 - halo)), inside = int(least(steps, p.length - t0 - p.left));
    const Places x_from = places_of(path, t0 + halo, x_inside), from = places_of(path, t0 + p.left, inside);
    const Places to = places_of(path, t0, steps);
    for (int64_t i = 0; i < tiles; ++i) {
      const Tile tile = tile_at(p, first_tile + i);
      const Window<T, V> w(memory + i * each, width, rows);
      if (i + AHEAD < tiles) {
        const int64_t d = tile_at(p, first_tile + i + AHEAD).d;
        if (x_inside > 0) prefetch_tile(p.x[0], b, 0, d, x_from, x_inside);
        if (inside > 0) prefetch_tile(p.grad_y, b, 0, d, from, inside);
        prefetch_output(p.grad_x, b, d, to, steps);
      }
      load_next(w.x + 2 * halo, p.x, b, tile.d, x_from, x_inside, steps, tile.lanes);
      load_next(w.grad + halo, grad_y, b, tile.d, from, inside, steps, tile.lanes);
      through_silu<WIDTH>(p, w.grad, w.x, w.taps, halo, halo + inside);
      V out[ROWS];
      backward_rows<WIDTH>(p, w, steps, out);
      store_tile(out, p.grad_x.at(b, 0, tile.d), p.grad_x, to, steps, tile.lanes, false);
      for (int64_t k = 0; k < 2 * halo; ++k) w.x[k] = w.x[steps + k];
      for (int64_t k = 0; k < halo; ++k) w.grad[k] = w.grad[steps + k];
    }
  }
  for (int64_t i = 0; i < tiles; ++i) {
    const Tile tile = tile_at(p, first_tile + i);
    const Window<T, V> w(memory + i * each, width, rows);
    for (int64_t j = 0; j < width; ++j)
      store_lanes(p.grad_weight + (b * width + j) * p.channels + tile.d, w.grad_weight[j], tile.lanes);
    store_lanes(p.grad_bias + b * p.channels + tile.d, *w.grad_bias, tile.lanes);
  }
}

// Share out the tiles of a batch, several at a time where there are enough for all threads.
template <class S, class F> static void share_out(const Conv<S>& p, F work) {
  const Turns turns = turns_of(p);
  const int64_t tiles = ceil_div(p.channels, LANES<S>), fair = p.batch * tiles / (2 * p.threads);
  const int64_t most = fair < 1 ? 1 : least(fair, turns.tiles), parts = ceil_div(tiles, most);
  parallel(p.batch * parts, p.threads, [&](int64_t i) {
    const int64_t first = i % parts * most;
    work(i / parts, first, least(most, tiles - first), turns.rows);
  });
}

template <class T, class S> static void run_forward(const Conv<S>& p) {
  share_out(p, [&](int64_t b, int64_t first, int64_t tiles, int rows) {
    if (p.width == 4) return forward_item<4, T>(p, b, first, tiles, rows);
    forward_item<0, T>(p, b, first, tiles, rows);
  });
}
template <class T, class S> static void run_backward(const Conv<S>& p) {
  share_out(p, [&](int64_t b, int64_t first, int64_t tiles, int rows) {
    if (p.width == 4) return backward_item<4, T>(p, b, first, tiles, rows);
    backward_item<0, T>(p, b, first, tiles, rows);
  });
}

template <class S> static void forward(const Conv<S>& p) { run_forward<Vector<S>>(p); }
template <class S> static void backward(const Conv<S>& p) { run_backward<Vector<S>>(p); }
template <class S> static void second(const Conv<S>& p) {
  run_forward<Dual<Vector<S>>>(p);
  run_backward<Dual<Vector<S>>>(p);
}

template <class S> static void fill(Kernels<S>& kernels) {
  kernels.conv_forward = forward<S>;
  kernels.conv_backward = backward<S>;
  kernels.conv_second = second<S>;
}
void conv_kernels(Kernels<float>& single, Kernels<double>& twice) {
  fill(single);
  fill(twice);
}

}  // namespace ISA
