// The short depthwise convolution, with bias and SiLU, for one instruction set.
// y[t] = f(a[t]), a[t] = bias + sum_j weight[j] x[t - left + j]; x is zero outside the sequence.
#include "tile.h"

namespace ISA {

constexpr int ROWS = CHUNK;  // steps of output at a time

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

template <class T, class S>
static INLINE T tap_sum(const T* x, const T* weight, int64_t width, T sum) {
  if (width == 4) return sum + x[0] * weight[0] + x[1] * weight[1] + (x[2] * weight[2] + x[3] * weight[3]);
  for (int64_t j = 0; j < width; ++j) sum += x[j] * weight[j];
  return sum;
}

template <class T, class S> static INLINE void load_taps(T* weight, const Conv<S>& p, const Tile& tile) {
  for (int64_t j = 0; j < p.width; ++j)
    weight[j] = load_number<T>(p.weight, tile.d * p.width + j, p.width, tile.lanes);
}

template <class S> static INLINE Tile tile_at(const Conv<S>& p, int64_t i) {
  return {i * LANES<S>, int(least(LANES<S>, p.channels - i * LANES<S>))};
}

template <class T, class S> static void forward_item(const Conv<S>& p, int64_t b, const Tile& tile) {
  T* weight = (T*)scratch(sizeof(T) * (p.width + ROWS + p.width));
  T* x = weight + p.width;
  load_taps(weight, p, tile);
  const T bias = load_number<T>(p.bias, tile.d, 1, tile.lanes);
  const Path path = {p.length, 1, false, p.reverse};
  for (int64_t t0 = 0; t0 < p.length; t0 += ROWS) {
    const int steps = int(least(ROWS, p.length - t0));
    load_rows(x, p.x, b, tile.d, t0 - p.left, steps + p.width - 1, path, tile.lanes);
    Vector<S> y[ROWS];
    for (int t = 0; t < steps; ++t) {
      const T a = tap_sum<T, S>(x + t, weight, p.width, bias);
      y[t] = Number<T>::result(p.silu ? a * sigmoid(a) : a);
    }
    store_tile(y, p.y.at(b, 0, tile.d), p.y, places_of(path, t0, steps), steps, tile.lanes, false);
  }
}

// The gradient of x at s needs that of a on [s - right, s + left], which needs x on (width - 1) rows to each side.
template <class T, class S> static void backward_item(const Conv<S>& p, int64_t b, const Tile& tile) {
  typedef Vector<S> V;
  const int64_t width = p.width, halo = width - 1, right = halo - p.left, most = ROWS + 2 * halo;
  T* weight = (T*)scratch(sizeof(T) * (width + 2 * most) + sizeof(V) * (width + 1));
  T *x = weight + width, *grad = x + most;
  V *grad_weight = (V*)(grad + most), *grad_bias = grad_weight + width;
  load_taps(weight, p, tile);
  const T bias = load_number<T>(p.bias, tile.d, 1, tile.lanes);
  const Path path = {p.length, 1, false, p.reverse};
  for (int64_t j = 0; j <= width; ++j) grad_weight[j] = V{};
  const View<S> grad_y[2] = {p.grad_y, {}};
  for (int64_t t0 = 0; t0 < p.length; t0 += ROWS) {
    const int steps = int(least(ROWS, p.length - t0));
    load_rows(x, p.x, b, tile.d, t0 - halo, steps + 2 * halo, path, tile.lanes);
    load_rows(grad, grad_y, b, tile.d, t0 - right, steps + halo, path, tile.lanes);  // grad[i]: step t0 - right + i
    if (p.silu) {
      for (int64_t i = 0; i < steps + halo; ++i) {
        const T a = tap_sum<T, S>(x + i, weight, width, bias), open = sigmoid(a);
        grad[i] = grad[i] * open * one_plus(a * one_minus(open));
      }
    }
    V out[ROWS];
    for (int t = 0; t < steps; ++t) {
      T sum = {};
      for (int64_t j = 0; j < width; ++j) sum += grad[t + halo - j] * weight[j];
      out[t] = Number<T>::result(sum);
      const T g = grad[t + right];
      for (int64_t j = 0; j < width; ++j) grad_weight[j] += Number<T>::result(g * x[t + right + j]);
      *grad_bias += Number<T>::result(g);
    }
    store_tile(out, p.grad_x.at(b, 0, tile.d), p.grad_x, places_of(path, t0, steps), steps, tile.lanes, false);
  }
  for (int64_t j = 0; j < width; ++j)
    store_lanes(p.grad_weight + (b * width + j) * p.channels + tile.d, grad_weight[j], tile.lanes);
  store_lanes(p.grad_bias + b * p.channels + tile.d, *grad_bias, tile.lanes);
}

template <class T, class S> static void run_forward(const Conv<S>& p) {
  const int64_t tiles = ceil_div(p.channels, LANES<S>);
  parallel(p.batch * tiles, p.threads, [&](int64_t i) { forward_item<T>(p, i / tiles, tile_at(p, i % tiles)); });
}
template <class T, class S> static void run_backward(const Conv<S>& p) {
  const int64_t tiles = ceil_div(p.channels, LANES<S>);
  parallel(p.batch * tiles, p.threads, [&](int64_t i) { backward_item<T>(p, i / tiles, tile_at(p, i % tiles)); });
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
