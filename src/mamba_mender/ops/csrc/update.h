// What the kernels for one step of decoding are given: arrays of any element type and strides, updated in place.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

enum ArrayType : int { ARRAY_FLOAT32, ARRAY_FLOAT64, ARRAY_BFLOAT16, ARRAY_FLOAT16 };

struct Array {
  char* data = nullptr;              // null where the tensor is missing
  int type = ARRAY_FLOAT32;
  int64_t stride[4] = {0, 0, 0, 0};  // in elements, by axis
};

// h = exp(step A) h + step B x; out = (<C, h> + D x) silu(z). The heads of a group share B and C.
struct StateUpdate {
  int64_t batch, heads, dim, state, groups;
  bool softplus;
  int threads;
  Array h;               // (batch, heads, dim, state), updated
  Array x, dt, z, out;   // (batch, heads, dim)
  Array A;               // (heads, dim, state)
  Array B, C;            // (batch, groups, state)
  Array D, bias;         // (heads, dim)
};

// window = [past, x]; out = f(bias + taps over window); past = the end of window.
struct ConvUpdate {
  int64_t batch, channels, length, width, past_length;
  bool silu;
  int threads;
  Array x, out;   // (batch, channels, length)
  Array past;     // (batch, channels, past_length), updated
  Array weight;   // (channels, width)
  Array bias;     // (channels)
};

// The entry points of one instruction set, computing in float or in double.
struct UpdateKernels {
  void (*state[2])(const StateUpdate&);
  void (*conv[2])(const ConvUpdate&);
};

std::vector<std::string> instruction_sets();  // that this processor can run, best first
