// What a scan kernel is given. Strides count elements; a missing tensor has a null pointer.
// Index 0 of a pair is the value, index 1 the tangent (dual pass only).
#pragma once

#include <cstddef>
#include <cstdint>

constexpr int CHUNK = 32;  // steps between two saved states

template <class S> struct View {
  const S* data = nullptr;
  int64_t batch = 0, channel = 0, time = 0;
  const S* at(int64_t b, int64_t d, int64_t t) const { return data + b * batch + d * channel + t * time; }
};

// Channel-last memory, written.
template <class S> struct Output {
  S* data = nullptr;
  int64_t batch = 0, time = 0;
  S* at(int64_t b, int64_t d, int64_t t) const { return data + b * batch + d + t * time; }
};

// B or C: unit stride along the state; or constant in time, (channels, state).
template <class S> struct Matrix {
  const S* data[2] = {nullptr, nullptr};
  int64_t batch[2] = {0, 0}, group[2] = {0, 0}, time[2] = {0, 0};
  bool constant = false;
};

// The same for gradients of B or C, one slot per share of the channels: (slots, batch, groups, length, state),
// or (batch, state, channels) when constant.
template <class S> struct MatrixGradient {
  S* data = nullptr;
  int64_t slot = 0, batch = 0, group = 0, time = 0;
};

template <class S> struct Scan {
  int64_t batch, channels, length, state, groups, slots;
  bool softplus;
  int threads;
  View<S> u[2], delta[2], z[2], grad_y;
  Matrix<S> B, C;
  const S* A[2] = {};             // (channels, state)
  const S* D[2] = {};             // (channels)
  const S* bias[2] = {};          // (channels)
  const S* initial[2] = {};       // (batch, channels, state)
  const S* grad_last = nullptr;   // (batch, channels, state)
  S* saved[2] = {};               // (batch, chunks, state, channels): the state before each chunk
  Output<S> y, grad_u, grad_delta, grad_z;
  S* last = nullptr;              // (batch, channels, state)
  S* grad_initial = nullptr;      // (batch, channels, state)
  S *grad_A = nullptr;            // (batch, state, channels)
  S *grad_D = nullptr, *grad_bias = nullptr;  // (batch, channels)
  MatrixGradient<S> grad_B, grad_C;
};

template <class S> struct Conv {
  int64_t batch, channels, length, width, left;
  bool silu;
  int threads;
  View<S> x[2], grad_y;
  const S* weight[2] = {};  // (channels, width)
  const S* bias[2] = {};    // (channels)
  Output<S> y, grad_x;
  S *grad_weight = nullptr;  // (batch, width, channels)
  S *grad_bias = nullptr;    // (batch, channels)
};

// Memory of the calling thread, 64-byte aligned, kept for its next call.
void* scratch(size_t bytes);

// The entry points of one instruction set.
template <class S> struct Kernels {
  void (*scan_forward)(const Scan<S>&);
  void (*scan_backward)(const Scan<S>&);
  void (*scan_second)(const Scan<S>&);  // dual numbers: derivative of forward and of backward along the tangents
  void (*conv_forward)(const Conv<S>&);
  void (*conv_backward)(const Conv<S>&);
  void (*conv_second)(const Conv<S>&);
};
