// One step of decoding, for one instruction set: the state of a selective scan, and the window of a convolution.
#include <cstring>

#include "tile.h"
#include "update.h"

namespace ISA {

constexpr int BLOCK = 64;  // channels that one thread takes at a time; a multiple of every vector's width

constexpr int SIZES[] = {4, 8, 2, 2};  // bytes of an ArrayType
template <class S> constexpr int NATIVE_TYPE = sizeof(S) == 4 ? ARRAY_FLOAT32 : ARRAY_FLOAT64;

static INLINE vfloat from_halves(const uint16_t* p, int64_t stride, int count, int type) {
  vhalf x = {};
  if (stride == 1 && count == LANES<float>) {
    __builtin_memcpy(&x, p, sizeof(x));
  } else {
    for (int i = 0; i < count; ++i) x[i] = p[i * stride];
  }
  return type == ARRAY_BFLOAT16 ? from_bfloat16(x) : from_float16(x);
}
static INLINE void to_halves(uint16_t* p, int64_t stride, vfloat v, int count, int type) {
  const vhalf x = type == ARRAY_BFLOAT16 ? to_bfloat16(v) : to_float16(v);
  if (stride == 1 && count == LANES<float>) {
    __builtin_memcpy(p, &x, sizeof(x));
  } else {
    for (int i = 0; i < count; ++i) p[i * stride] = x[i];
  }
}

// Load up to a vector of any element type, zero in the lanes beyond; and store one.
template <class From, class S> static INLINE Vector<S> load_as(const From* p, int64_t stride, int count) {
  if constexpr (sizeof(From) == sizeof(S)) {
    if (stride == 1 && count == LANES<S>) return load(p);
  }
  Vector<S> v = {};
  for (int i = 0; i < count; ++i) v[i] = S(p[i * stride]);
  return v;
}
template <class S> static INLINE Vector<S> load_any(const char* p, int type, int64_t stride, int count) {
  if (type == ARRAY_FLOAT32) return load_as<float, S>((const float*)p, stride, count);
  if (type == ARRAY_FLOAT64) return load_as<double, S>((const double*)p, stride, count);
  const vfloat v = from_halves((const uint16_t*)p, stride, count, type);
  if constexpr (sizeof(S) == sizeof(float)) return v;
  Vector<S> wide = {};
  for (int i = 0; i < count; ++i) wide[i] = v[i];
  return wide;
}
template <class To, class S> static INLINE void store_as(To* p, int64_t stride, Vector<S> v, int count) {
  if constexpr (sizeof(To) == sizeof(S)) {
    if (stride == 1 && count == LANES<S>) return store(p, v);
  }
  for (int i = 0; i < count; ++i) p[i * stride] = To(v[i]);
}
template <class S> static INLINE void store_any(char* p, int type, int64_t stride, Vector<S> v, int count) {
  if (type == ARRAY_FLOAT32) return store_as<float, S>((float*)p, stride, v, count);
  if (type == ARRAY_FLOAT64) return store_as<double, S>((double*)p, stride, v, count);
  vfloat single = {};
  if constexpr (sizeof(S) == sizeof(float)) {
    single = v;
  } else {
    for (int i = 0; i < count; ++i) single[i] = float(v[i]);
  }
  to_halves((uint16_t*)p, stride, single, count, type);
}

static INLINE char* at(const Array& a, int64_t i, int64_t j = 0, int64_t k = 0, int64_t l = 0) {
  return a.data + SIZES[a.type] * (i * a.stride[0] + j * a.stride[1] + k * a.stride[2] + l * a.stride[3]);
}
template <class S> static INLINE Vector<S> load_axis(const Array& a, const char* p, int axis, int count) {
  return a.data ? load_any<S>(p, a.type, a.stride[axis], count) : Vector<S>{};
}

// Read a row into memory of type S, rounded up to whole vectors with zeros; and write one.
template <class S> static void read_row(S* row, const char* p, int type, int64_t stride, int64_t count) {
  constexpr int W = LANES<S>;
  const int64_t step = SIZES[type] * stride;
  for (int64_t i = 0; i < count; i += W)
    store(row + i, load_any<S>(p + i * step, type, stride, int(least(W, count - i))));
}
template <class S> static void write_row(const S* row, char* p, int type, int64_t stride, int64_t count) {
  constexpr int W = LANES<S>;
  const int64_t step = SIZES[type] * stride;
  for (int64_t i = 0; i < count; i += W)
    store_any<S>(p + i * step, type, stride, load(row + i), int(least(W, count - i)));
}

template <class S> static INLINE bool is_plain(const Array& a, int axis, int64_t count) {
  return a.type == NATIVE_TYPE<S> && a.stride[axis] == 1 && count % LANES<S> == 0;
}

template <class S> static INLINE int64_t whole(int64_t count) { return ceil_div(count, LANES<S>) * LANES<S>; }

// The memory of one thread: B and C of its group, and a row of A and of h where they cannot be used in place.
template <class S> struct Rows {
  S *B, *C, *A, *h;
  explicit Rows(int64_t state) {
    B = (S*)scratch(4 * sizeof(S) * whole<S>(state));
    C = B + whole<S>(state), A = C + whole<S>(state), h = A + whole<S>(state);
  }
};

// h = decay h + write B over one row; returns C h, still to be summed over its lanes.
template <class S>
static INLINE Vector<S> update_row(S* h, const S* A, const Rows<S>& rows, S rate, S write, int64_t state) {
  constexpr int W = LANES<S>;
  Vector<S> sum = {};
  int64_t n = 0;
  for (; n + W <= state; n += W) {
    const Vector<S> next = exp2(load(A + n) * rate) * load(h + n) + load(rows.B + n) * write;
    store(h + n, next);
    sum += next * load(rows.C + n);
  }
  if (n < state) {  // rows end in zeros here; what infinity makes of those must not be summed
    const Vector<S> next = exp2(load(A + n) * rate) * load(h + n) + load(rows.B + n) * write;
    store(h + n, next);
    const Vector<S> product = next * load(rows.C + n);
    for (int i = 0; i < state - n; ++i) sum[i] += product[i];
  }
  return sum;
}

// The rows of up to one vector of channels; sums[i] is C h of row i, still to be summed over its lanes.
template <class S>
static INLINE void update_rows(const StateUpdate& p, const Rows<S>& rows, int64_t b, int64_t head, int64_t d, int count,
                               const S* rate, const S* write, Vector<S>* sums) {
  typedef Vector<S> V;
  const bool plain_A = is_plain<S>(p.A, 2, p.state), plain_h = is_plain<S>(p.h, 3, p.state);
  char *A = at(p.A, head, d), *h = at(p.h, b, head, d);
  const int64_t next_A = p.A.stride[1] * SIZES[p.A.type], next_h = p.h.stride[2] * SIZES[p.h.type];
  if (plain_A && plain_h && p.state == LANES<S>) {  // a row is one vector: B and C stay in registers
    const V B = load(rows.B), C = load(rows.C);
    for (int i = 0; i < count; ++i, A += next_A, h += next_h) {
      const V next = exp2(load((const S*)A) * rate[i]) * load((const S*)h) + B * write[i];
      store((S*)h, next);
      sums[i] = next * C;
    }
    return;
  }
  for (int i = 0; i < count; ++i, A += next_A, h += next_h) {
    if (!plain_A) read_row(rows.A, A, p.A.type, p.A.stride[2], p.state);
    if (!plain_h) read_row(rows.h, h, p.h.type, p.h.stride[3], p.state);
    sums[i] = update_row(plain_h ? (S*)h : rows.h, plain_A ? (const S*)A : rows.A, rows, rate[i], write[i], p.state);
    if (!plain_h) write_row(rows.h, h, p.h.type, p.h.stride[3], p.state);
  }
}

// Up to one vector of channels of one head, from d on.
template <class S>
static INLINE void update_channels(const StateUpdate& p, const Rows<S>& rows, int64_t b, int64_t head, int64_t d,
                                   int count) {
  typedef Vector<S> V;
  V step = load_axis<S>(p.dt, at(p.dt, b, head, d), 2, count) + load_axis<S>(p.bias, at(p.bias, head, d), 1, count);
  V slope;
  if (p.softplus) softplus(step, step, slope);
  const V x = load_axis<S>(p.x, at(p.x, b, head, d), 2, count);
  V rate = step * S(LOG2E), write = step * x, sums[LANES<S>] = {};
  update_rows(p, rows, b, head, d, count, (const S*)&rate, (const S*)&write, sums);
  V y = lane_sums(sums) + x * load_axis<S>(p.D, at(p.D, head, d), 1, count);
  if (p.z.data) {
    const V z = load_axis<S>(p.z, at(p.z, b, head, d), 2, count);
    y *= z * sigmoid(z);
  }
  store_any<S>(at(p.out, b, head, d), p.out.type, p.out.stride[2], y, count);
}

template <class S> static void update_state(const StateUpdate& p) {
  const int64_t blocks = ceil_div(p.dim, BLOCK);
  parallel(p.batch * p.heads * blocks, p.threads, [&](int64_t item) {
    const int64_t b = item / (p.heads * blocks), head = item / blocks % p.heads, first = item % blocks * BLOCK;
    const int64_t group = head / (p.heads / p.groups), end = least(p.dim, first + BLOCK);
    const Rows<S> rows(p.state);
    read_row(rows.B, at(p.B, b, group), p.B.type, p.B.stride[2], p.state);
    read_row(rows.C, at(p.C, b, group), p.C.type, p.C.stride[2], p.state);
    for (int64_t d = first; d < end; d += LANES<S>)
      update_channels(p, rows, b, head, d, int(least(LANES<S>, end - d)));
  });
}

// Several rows in memory of type S, one after the other: in place where they already are that, else a copy.
template <class S> struct Block {
  S* rows;
  bool copied, flat;
};
template <class S>
static INLINE Block<S> read_block(const Array& a, char* p, int row_axis, int64_t rows, int64_t count, S* copy) {
  const int64_t to_row = a.stride[row_axis], step = a.stride[row_axis + 1];
  const bool flat = to_row == count && (step == 1 || count == 1);
  if (flat && a.type == NATIVE_TYPE<S>) return {(S*)p, false, true};
  if (flat) {
    read_row(copy, p, a.type, 1, rows * count);
  } else {
    for (int64_t i = 0; i < rows; ++i) read_row(copy + i * count, p + i * to_row * SIZES[a.type], a.type, step, count);
  }
  return {copy, true, flat};
}
template <class S>
static INLINE void write_block(const Block<S>& block, const Array& a, char* p, int row_axis, int64_t rows, int64_t count) {
  const int64_t to_row = a.stride[row_axis], step = a.stride[row_axis + 1];
  if (!block.copied) return;
  if (block.flat) return write_row(block.rows, p, a.type, 1, rows * count);
  for (int64_t i = 0; i < rows; ++i)
    write_row(block.rows + i * count, p + i * to_row * SIZES[a.type], a.type, step, count);
}

// Move one channel's window on by x, and return the sums over the taps, one every LANES elements of `sums`.
template <class S>
static INLINE void shift_window(S* past, const S* x, const S* taps, S* sums, int64_t past_length, int64_t length,
                                int64_t width) {
  for (int64_t t = 0; t < length; ++t) {
    const S *const before = past + past_length + t - (width - 1), *const now = x + t - (width - 1);
    S sum = 0;
    int64_t k = 0;
    for (; k < width - 1 - t; ++k) sum += taps[k] * before[k];
    for (; k < width; ++k) sum += taps[k] * now[k];
    sums[t * LANES<S>] = sum;
  }
  const int64_t kept = past_length > length ? past_length - length : 0;
  for (int64_t i = 0; i < kept; ++i) past[i] = past[i + length];
  for (int64_t i = kept; i < past_length; ++i) past[i] = x[length - past_length + i];
}

// Up to one vector of channels of a convolution.
template <class S>
static INLINE void shift_channels(const ConvUpdate& p, S* memory, int64_t b, int64_t d, int count) {
  typedef Vector<S> V;
  constexpr int W = LANES<S>;
  const int64_t n = p.past_length, length = p.length, width = p.width;
  S *const sums = memory, *const taps = sums + length * W, *const x = taps + width * W + W;
  char* const past_at = at(p.past, b, d);
  const Block<S> weight = read_block(p.weight, at(p.weight, d), 0, count, width, taps);
  const Block<S> steps = read_block(p.x, at(p.x, b, d), 1, count, length, x);
  const Block<S> past = read_block(p.past, past_at, 1, count, n, x + length * W + W);
  for (int i = 0; i < count; ++i) {
    S *const h = past.rows + i * n, *const w = weight.rows + i * width, *const s = steps.rows + i * length;
    if (length == 1 && width == 4 && n == 4) {  // what models have, with the sizes known to the compiler
      shift_window<S>(h, s, w, sums + i, 4, 1, 4);
    } else if (length == 1 && width == 4 && n == 3) {
      shift_window<S>(h, s, w, sums + i, 3, 1, 4);
    } else {
      shift_window<S>(h, s, w, sums + i, n, length, width);
    }
  }
  write_block(past, p.past, past_at, 1, count, n);
  const V bias = load_axis<S>(p.bias, at(p.bias, d), 0, count);
  for (int64_t t = 0; t < length; ++t) {
    const V a = load(sums + t * W) + bias;
    store_any<S>(at(p.out, b, d, t), p.out.type, p.out.stride[1], p.silu ? a * sigmoid(a) : a, count);
  }
}

template <class S> static void update_conv(const ConvUpdate& p) {
  constexpr int W = LANES<S>;
  const int64_t blocks = ceil_div(p.channels, BLOCK);
  parallel(p.batch * blocks, p.threads, [&](int64_t item) {
    const int64_t b = item / blocks, first = item % blocks * BLOCK, end = least(p.channels, first + BLOCK);
    // Copies are written in whole vectors, so each has one to spare.
    S* const memory = (S*)scratch(sizeof(S) * W * (2 * p.length + p.width + p.past_length + 3));
    for (int64_t d = first; d < end; d += W) shift_channels(p, memory, b, d, int(least(W, end - d)));
  });
}

UpdateKernels update_kernels() {
  return {{update_state<float>, update_state<double>}, {update_conv<float>, update_conv<double>}};
}

}  // namespace ISA
