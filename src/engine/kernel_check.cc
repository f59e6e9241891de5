#include "engine/kernel_check.h"

#include <fmt/format.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#include <gguf.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "engine/engine_log.h"

namespace drover {
namespace {

// Multiplied rows of a weight: enough for the widest packed layout (AMX packs 32).
constexpr std::int64_t kWeightRows = 32;
// Multiplied columns at most: a multiple of every type's block.
constexpr std::int64_t kColumnsMax = 2048;
// Vectors multiplied at once: one, a few, and one more than the largest tile.
constexpr std::array<int, 3> kVectors = {1, 3, 17};
// Largest relative mean square error. Kernels round vectors to 8 bits, which gives about 2e-5; a wrong kernel gives
// about 1.
constexpr double kErrorMax = 1e-3;
// A check takes milliseconds; after this time it hangs.
constexpr unsigned kSecondsMax = 30;

// A part of a weight, in the file's format.
struct Sample {
  ggml_type type = GGML_TYPE_F32;
  std::int64_t columns = 0;
  std::int64_t rows = 0;
  std::vector<std::uint8_t> bytes;
};

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* pointer) const { Free(pointer); }
};
using GgufPointer = std::unique_ptr<gguf_context, Freed<gguf_context, gguf_free>>;
using ContextPointer = std::unique_ptr<ggml_context, Freed<ggml_context, ggml_free>>;
using BackendPointer = std::unique_ptr<ggml_backend, Freed<ggml_backend, ggml_backend_free>>;
using BufferPointer = std::unique_ptr<ggml_backend_buffer, Freed<ggml_backend_buffer, ggml_backend_buffer_free>>;

// Whether the tensor may be a factor of a matrix product, in a type whose kernels differ between variants.
bool is_weight(const ggml_tensor& tensor) {
  return ggml_n_dims(&tensor) >= 2 && ggml_get_type_traits(tensor.type)->to_float != nullptr;
}

// The first weight of each type that earlier files do not have.
void read_samples(const std::string& path, std::map<ggml_type, Sample>& samples) {
  ggml_context* tensors = nullptr;
  const GgufPointer file(gguf_init_from_file(path.c_str(), {true, &tensors}));
  const ContextPointer owner(tensors);
  if (file == nullptr) return;
  std::ifstream data(path, std::ios::binary);
  for (std::int64_t i = 0; i < gguf_get_n_tensors(file.get()); ++i) {
    const ggml_tensor* tensor = ggml_get_tensor(tensors, gguf_get_tensor_name(file.get(), i));
    if (tensor == nullptr || !is_weight(*tensor) || samples.count(tensor->type) > 0) continue;
    Sample sample;
    sample.type = tensor->type;
    const std::int64_t block = ggml_blck_size(tensor->type);
    sample.columns = std::min(tensor->ne[0], kColumnsMax) / block * block;
    sample.rows = std::min(tensor->ne[1], kWeightRows);
    const std::size_t row_bytes = ggml_row_size(tensor->type, tensor->ne[0]);
    const std::size_t part_bytes = ggml_row_size(tensor->type, sample.columns);
    sample.bytes.resize(part_bytes * static_cast<std::size_t>(sample.rows));
    const std::size_t start = gguf_get_data_offset(file.get()) + gguf_get_tensor_offset(file.get(), i);
    for (std::int64_t row = 0; row < sample.rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      data.seekg(static_cast<std::streamoff>(start + at * row_bytes));
      data.read(reinterpret_cast<char*>(sample.bytes.data() + at * part_bytes),
                static_cast<std::streamsize>(part_bytes));
    }
    if (data) samples.emplace(tensor->type, std::move(sample));
  }
}

// Values between -1 and 1 that look like noise.
std::vector<float> make_vectors(std::int64_t columns, int count) {
  std::vector<float> values(static_cast<std::size_t>(columns * count));
  std::uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f;
  }
  return values;
}

// The products, computed by plain code: for each vector, one value per row.
std::vector<double> multiply_plainly(const Sample& sample, const std::vector<float>& vectors, int count) {
  const auto columns = static_cast<std::size_t>(sample.columns);
  const auto rows = static_cast<std::size_t>(sample.rows);
  std::vector<float> weights(columns);
  std::vector<double> products(rows * static_cast<std::size_t>(count));
  for (std::size_t row = 0; row < rows; ++row) {
    const std::uint8_t* bytes = sample.bytes.data() + row * ggml_row_size(sample.type, sample.columns);
    ggml_get_type_traits(sample.type)->to_float(bytes, weights.data(), sample.columns);
    for (std::size_t vector = 0; vector < static_cast<std::size_t>(count); ++vector) {
      double sum = 0;
      for (std::size_t i = 0; i < columns; ++i) sum += static_cast<double>(weights[i]) * vectors[vector * columns + i];
      products[vector * rows + row] = sum;
    }
  }
  return products;
}

// The products, computed by the engine with the weight in a buffer of the given type. Nothing if that type does not
// accept the weight.
std::optional<std::vector<float>> multiply(ggml_backend_t backend, ggml_backend_buffer_type_t buffer_type,
                                           const Sample& sample, const std::vector<float>& vectors, int count) {
  const ggml_init_params params = {8 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true};
  const ContextPointer weights(ggml_init(params));
  const ContextPointer others(ggml_init(params));
  ggml_tensor* weight = ggml_new_tensor_2d(weights.get(), sample.type, sample.columns, sample.rows);
  ggml_tensor* input = ggml_new_tensor_2d(others.get(), GGML_TYPE_F32, sample.columns, count);
  ggml_tensor* output = ggml_mul_mat(others.get(), weight, input);
  const BufferPointer weight_buffer(ggml_backend_alloc_ctx_tensors_from_buft(weights.get(), buffer_type));
  if (weight_buffer == nullptr) return std::nullopt;
  const ggml_backend_dev_t device = ggml_backend_get_device(backend);
  if (!ggml_backend_dev_supports_op(device, output)) return std::nullopt;
  const BufferPointer buffer(ggml_backend_alloc_ctx_tensors(others.get(), backend));
  if (buffer == nullptr) return std::nullopt;
  ggml_backend_tensor_set(weight, sample.bytes.data(), 0, sample.bytes.size());
  ggml_backend_tensor_set(input, vectors.data(), 0, vectors.size() * sizeof(float));
  ggml_cgraph* graph = ggml_new_graph(others.get());
  ggml_build_forward_expand(graph, output);
  std::vector<float> products(static_cast<std::size_t>(sample.rows) * static_cast<std::size_t>(count));
  if (ggml_backend_graph_compute(backend, graph) != GGML_STATUS_SUCCESS) return products;
  ggml_backend_tensor_get(output, products.data(), 0, products.size() * sizeof(float));
  return products;
}

double error_of(const std::vector<float>& products, const std::vector<double>& right) {
  double squares = 0;
  double errors = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    const double error = static_cast<double>(products[i]) - right[i];
    if (!std::isfinite(error)) return INFINITY;
    errors += error * error;
    squares += right[i] * right[i];
  }
  return squares > 0 ? errors / squares : errors;
}

// The types of buffers that llama.cpp may store weights in, in its order.
std::vector<ggml_backend_buffer_type_t> buffer_types(ggml_backend_dev_t device, bool packed) {
  std::vector<ggml_backend_buffer_type_t> types;
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  if (packed && extra != nullptr) {
    for (ggml_backend_buffer_type_t* type = extra(device); type != nullptr && *type != nullptr; ++type) {
      types.push_back(*type);
    }
  }
  types.push_back(ggml_backend_dev_buffer_type(device));
  return types;
}

// Called with the name of the next product, so that it is known if the process crashes.
using Announce = std::function<void(std::string_view what)>;

std::string check(const std::vector<std::string>& paths, bool packed, const Announce& announce) {
  std::map<ggml_type, Sample> samples;
  for (const std::string& path : paths) read_samples(path, samples);
  const ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return "there is no CPU back end";
  const BackendPointer backend(ggml_backend_dev_init(device, nullptr));
  const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(
      ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads"));
  if (backend == nullptr || set_threads == nullptr) return "the CPU back end cannot be used";
  set_threads(backend.get(), 1);
  for (const auto& [type, sample] : samples) {
    for (const ggml_backend_buffer_type_t buffer_type : buffer_types(device, packed)) {
      const std::string what =
          fmt::format("{} in {} memory", ggml_type_name(type), ggml_backend_buft_name(buffer_type));
      announce(what);
      bool taken = false;
      for (const int count : kVectors) {
        const std::vector<float> vectors = make_vectors(sample.columns, count);
        const auto products = multiply(backend.get(), buffer_type, sample, vectors, count);
        if (!products) break;
        taken = true;
        const double error = error_of(*products, multiply_plainly(sample, vectors, count));
        if (!(error <= kErrorMax)) {
          return fmt::format("{}: {} vectors times weights are wrong (error {:.2g} of the mean square)", what, count,
                             error);
        }
      }
      if (taken) break;  // llama.cpp uses the first type that accepts the weight
    }
  }
  return {};
}

// ---- the child

void write_line(int descriptor, std::string_view text) {
  const std::string line = std::string(text) + "\n";
  for (std::size_t at = 0; at < line.size();) {
    const ssize_t count = ::write(descriptor, line.data() + at, line.size() - at);
    if (count < 0 && errno != EINTR) return;
    if (count > 0) at += static_cast<std::size_t>(count);
  }
}

[[noreturn]] void run_child(int descriptor, const std::vector<std::string>& paths, bool packed) {
  for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGALRM}) ::signal(signal, SIG_DFL);
  ::alarm(kSecondsMax);
  expect_engine_errors(true);  // the loader will report the same error
  const std::string wrong = check(paths, packed, [&](std::string_view what) { write_line(descriptor, what); });
  if (!wrong.empty()) write_line(descriptor, wrong);
  std::_Exit(wrong.empty() ? 0 : 1);
}

std::string read_all(int descriptor) {
  std::string text;
  char buffer[512];
  while (true) {
    const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
    if (count > 0) {
      text.append(buffer, static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      return text;
    }
  }
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1));
}

// Calls wrong_kernel() in a child process. A check that cannot run finds no fault.
std::string wrong_kernel_in_child(const std::vector<std::string>& paths, bool packed) {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    run_child(ends[1], paths, packed);
  }
  ::close(ends[1]);
  const std::string said = child > 0 ? read_all(ends[0]) : std::string();
  ::close(ends[0]);
  if (child < 0) {
    spdlog::warn("cannot check the kernels: {}", std::strerror(errno));
    return {};
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string last = last_line(said);
  if (WIFEXITED(status)) return last;
  const int signal = WTERMSIG(status);
  return fmt::format("{}: {}", last, signal == SIGALRM ? "it does not end" : ::strsignal(signal));
}

}  // namespace

std::string wrong_kernel(const std::vector<std::string>& paths, bool packed) {
  return check(paths, packed, [](std::string_view) {});
}

Result<Kernels> choose_kernels(const std::vector<CpuVariant>& variants, const std::vector<std::string>& paths) {
  std::string why = "there is none";
  for (const CpuVariant& variant : variants) {
    if (auto used = use_variant(variant); !used) {
      why = used.error().message;
      spdlog::warn("variant {} is not used: {}", variant.name, why);
      continue;
    }
    for (const bool packed : {true, false}) {
      why = wrong_kernel_in_child(paths, packed);
      if (why.empty()) return Kernels{variant, packed};
      spdlog::warn("variant {} {} is not used: it fails its check on this processor: {}", variant.name,
                   packed ? "with packed weights" : "as a whole", why);
    }
  }
  return internal("no variant of the engine computes correctly on this processor; the last one: " + why);
}

}  // namespace drover
