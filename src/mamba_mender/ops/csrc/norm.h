// What a normalisation kernel is given: rows of channels, next to each other in memory.
#pragma once

#include <cstdint>

constexpr int ROWS_A_SHARE = 64;  // rows whose gradients of the weight are summed in one go, by one thread

template <class S> struct Norm {
  int64_t rows, channels;
  S eps;
  int threads;
  const S *x = nullptr, *grad_y = nullptr;  // (rows, channels)
  const S* weight = nullptr;                // (channels)
  S *y = nullptr, *grad_x = nullptr;        // (rows, channels)
  S* grad_weight = nullptr;                 // (shares, channels)
};

template <class S> struct NormKernels {
  void (*forward)(const Norm<S>&);
  void (*backward)(const Norm<S>&);
};
