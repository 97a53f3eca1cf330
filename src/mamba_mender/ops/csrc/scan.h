// What the kernels are given. Strides count elements; a missing tensor has a null pointer.
// Index 0 of a pair is the value, index 1 the tangent (dual pass only).
#pragma once

#include <cstddef>
#include <cstdint>

// Kernels are compiled once per instruction set: what is not inlined could be linked into another's code.
#define MEMBER inline __attribute__((always_inline))

constexpr int CHUNK = 32;  // steps between two saved states

// What an element of a sequence is in memory: what the kernel computes in, or (of a float kernel) half of it.
enum Kind : int64_t { NATIVE = 0, BFLOAT16 = 1, FLOAT16 = 2 };

template <class S> struct View {
  const char* data = nullptr;
  int64_t batch = 0, group = 0, channel = 0, time = 0;
  int64_t kind = NATIVE;
  MEMBER int64_t bytes() const { return kind == NATIVE ? sizeof(S) : 2; }
  MEMBER const char* at(int64_t b, int64_t g, int64_t d) const {
    return data + (b * batch + g * group + d * channel) * bytes();
  }
};

// Channel-last memory, written.
template <class S> struct Output {
  char* data = nullptr;
  int64_t batch = 0, group = 0, time = 0;
  int64_t kind = NATIVE;
  MEMBER int64_t bytes() const { return kind == NATIVE ? sizeof(S) : 2; }
  MEMBER char* at(int64_t b, int64_t g, int64_t d) const { return data + (b * batch + g * group + d) * bytes(); }
};

// B or C, (batch, groups, state, length) with any strides; or constant in time, (channels, state).
template <class S> struct Matrix {
  View<S> view[2];  // its channel is the state
  bool constant = false;
};

// The same for gradients of B or C, one slot per share of the channels: (slots, batch, groups, length, state),
// or (rows, state, channels) when constant.
template <class S> struct MatrixGradient {
  S* data = nullptr;
  int64_t slot = 0, batch = 0, group = 0, time = 0;
};

// In which order a scan visits the positions of a grid, which lie row by row in memory.
struct Path {
  int64_t length, rows;
  bool by_column, reverse;
  MEMBER int64_t at(int64_t t) const {
    if (reverse) t = length - 1 - t;
    return by_column ? t % rows * (length / rows) + t / rows : t;
  }
};

template <class S> struct Scan {
  int64_t batch, channels, length, state, groups, slots;
  int64_t segments;  // pieces of the sequence that are scanned at the same time
  int64_t rows;      // of the grid of positions
  bool softplus;
  bool merged;             // groups share u, and y is summed over them
  const int64_t* orders;   // per group: 0 by row, 1 by row reversed, 2 by column, 3 by column reversed
  int64_t order_stride;    // 0: one order for all groups
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
  S *grad_A = nullptr;            // (batch * segments, state, channels)
  S *grad_D = nullptr, *grad_bias = nullptr;  // (batch * segments, channels)
  MatrixGradient<S> grad_B, grad_C;

  MEMBER Path path(int64_t g) const {
    const int64_t order = orders[g * order_stride];
    return {length, rows, (order & 2) != 0, (order & 1) != 0};
  }
};

template <class S> struct Conv {
  int64_t batch, channels, length, width, left;
  bool silu, reverse;
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
