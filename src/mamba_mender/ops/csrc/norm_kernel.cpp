// Root-mean-square normalisation of rows, for one instruction set.
// r = (mean(x^2) + eps)^(-1/2), y = weight x r; with a = weight grad_y:
// grad_x = r a - r^3 mean(a x) x, grad_weight = sum over rows of grad_y x r.
#include "norm.h"

#include <cmath>

#include "tile.h"

namespace ISA {

// Call with the offset and the number of lanes of each vector of a row.
template <class S, class F> static INLINE void each_vector(int64_t channels, F work) {
  int64_t d = 0;
  for (; d + LANES<S> <= channels; d += LANES<S>) work(d, LANES<S>);
  if (d < channels) work(d, int(channels - d));
}

template <class S> static INLINE S inverse_root(const S* x, const Norm<S>& p) {
  Vector<S> squares = {};
  each_vector<S>(p.channels, [&](int64_t d, int lanes) {
    const Vector<S> v = gather_lanes(x + d, 1, lanes);
    squares += v * v;
  });
  return 1 / std::sqrt(lane_sum(squares) / S(p.channels) + p.eps);
}

template <class S> static void forward_row(const Norm<S>& p, int64_t row) {
  const S* x = p.x + row * p.channels;
  S* y = p.y + row * p.channels;
  const S r = inverse_root(x, p);
  each_vector<S>(p.channels, [&](int64_t d, int lanes) {
    store_lanes(y + d, gather_lanes(x + d, 1, lanes) * r * gather_lanes(p.weight + d, 1, lanes), lanes);
  });
}

template <class S> static void backward_row(const Norm<S>& p, int64_t row, S* grad_weight) {
  const S *x = p.x + row * p.channels, *grad_y = p.grad_y + row * p.channels;
  S* grad_x = p.grad_x + row * p.channels;
  const S r = inverse_root(x, p);
  Vector<S> products = {};
  each_vector<S>(p.channels, [&](int64_t d, int lanes) {
    products += gather_lanes(x + d, 1, lanes) * gather_lanes(grad_y + d, 1, lanes) * gather_lanes(p.weight + d, 1, lanes);
  });
  const S along = lane_sum(products) / S(p.channels) * r * r * r;
  each_vector<S>(p.channels, [&](int64_t d, int lanes) {
    const Vector<S> v = gather_lanes(x + d, 1, lanes), g = gather_lanes(grad_y + d, 1, lanes);
    store_lanes(grad_x + d, g * gather_lanes(p.weight + d, 1, lanes) * r - v * along, lanes);
    store_lanes(grad_weight + d, gather_lanes(grad_weight + d, 1, lanes) + g * v * r, lanes);
  });
}

template <class S, class F> static void in_shares(const Norm<S>& p, F work) {
  parallel(ceil_div(p.rows, ROWS_A_SHARE), p.threads, [&](int64_t share) {
    work(share, share * ROWS_A_SHARE, least((share + 1) * ROWS_A_SHARE, p.rows));
  });
}

template <class S> static void forward(const Norm<S>& p) {
  in_shares(p, [&](int64_t, int64_t row, int64_t end) {
    for (; row < end; ++row) forward_row(p, row);
  });
}
template <class S> static void backward(const Norm<S>& p) {
  in_shares(p, [&](int64_t share, int64_t row, int64_t end) {
    S* grad_weight = p.grad_weight + share * p.channels;
    for (int64_t d = 0; d < p.channels; ++d) grad_weight[d] = 0;
    for (; row < end; ++row) backward_row(p, row, grad_weight);
  });
}

void norm_kernels(NormKernels<float>& single, NormKernels<double>& twice) {
  single = {forward<float>, backward<float>};
  twice = {forward<double>, backward<double>};
}

}  // namespace ISA
