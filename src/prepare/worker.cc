#include "prepare/worker.h"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <exception>

#include "base/failed.h"
#include "base/frame.h"
#include "engine/bounded_cache.h"
#include "engine/grammar_cache.h"
#include "engine/output_parser.h"
#include "prepare.pb.h"
#include "prepare/process_limits.h"
#include "prepare/prompt_maker.h"
#include "prepare/prompt_wire.h"

namespace drover {
namespace {

constexpr int kSocket = 3;
// After a request that took this long, the worker checks its memory. With more than this it is replaced.
constexpr double kLookAfterMs = 20;
constexpr std::uint64_t kHeapBytesMax = 256u << 20;

// All that the time to set up a grammar and a parser depends on. Each part has its length in front.
std::string set_up_key(const RenderedPrompt& rendered) {
  std::string key;
  const auto add = [&key](const std::string& part) {
    key.append(std::to_string(part.size())).append(1, ':').append(part);
  };
  add(rendered.grammar);
  add(rendered.syntax.parser);
  for (const std::string& pattern : rendered.grammar_start.trigger_patterns) add(pattern);
  return key;
}

double processor_ms() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

class Worker {
 public:
  Worker(const LlamaModel& model, const ChatTemplate* chat, unsigned seconds)
      : model_(model), chat_(chat), seconds_(seconds), grammars_(model), heap_at_start_(heap_bytes()) {}

  void run() {
    while (read()) {
      limit_processor(seconds_);
      const double start = processor_ms();
      answer_.Clear();
      try {
        answer();
      } catch (const std::exception& error) {
        fail(internal(error.what()));
      }
      if (processor_ms() - start > kLookAfterMs) look_at_memory();
      if (!write()) return;
    }
  }

 private:
  void answer() {
    if (work_.kind_case() == pb::PrepareWork::kEmbed) {
      for (const std::string& text : work_.embed().texts()) {
        answer_.mutable_inputs()->add_tokens(token_bytes(model_.tokenize(text, true)));
      }
      return;
    }
    const pb::Generate& work = work_.generate();
    const int context_max = static_cast<int>(work_.context_max());
    auto prompt = PromptMaker(model_, *chat_).make(work, context_max);
    if (!prompt) return fail(prompt.error());
    if (auto checked = check_set_up(*prompt); !checked) return fail(checked.error());
    write_prompt(*prompt, work.render_only(), *answer_.mutable_prompt());
  }

  // Checks that the runner can make the grammar and the parser in a short time.
  Result<void> check_set_up(const MadePrompt& prompt) {
    const RenderedPrompt& rendered = prompt.rendered;
    if (rendered.grammar.empty() && rendered.syntax.parser.empty()) return {};
    const std::string key = set_up_key(rendered);
    if (quick_.find(key) != nullptr) return {};
    const double start = processor_ms();
    if (!rendered.grammar.empty()) {
      auto grammar = grammars_.sampler(rendered.grammar, rendered.grammar_start);
      if (!grammar) return std::move(grammar).error();
    }
    const OutputParser parser(rendered.syntax, {});
    const double took = processor_ms() - start;
    if (took <= kSetUpMsMax) {
      quick_.add(key, true);
      return {};
    }
    return invalid(
        fmt::format("the format or the tools are too large: their grammar takes {:.0f} ms to set up, and no "
                    "more than {} ms are allowed",
                    took, kSetUpMsMax));
  }

  void fail(const Error& error) { write_error(error, *answer_.mutable_failed()); }

  void look_at_memory() {
    ::malloc_trim(0);
    answer_.set_retire(heap_bytes() > heap_at_start_ + kHeapBytesMax);
  }

  bool read() {
    std::array<char, kFrameHeaderBytes> header;
    if (!read_bytes(header.data(), header.size())) return false;
    const std::size_t size = frame_size(header);
    if (size > kFrameBytesMax) return false;
    std::string bytes(size, '\0');
    work_.Clear();
    return read_bytes(bytes.data(), size) && work_.ParseFromString(bytes);
  }

  static bool read_bytes(char* into, std::size_t size) {
    while (size > 0) {
      const ssize_t got = ::read(kSocket, into, size);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      into += got;
      size -= static_cast<std::size_t>(got);
    }
    return true;
  }

  bool write() const {
    const auto header = frame_header(answer_.ByteSizeLong());
    std::string bytes(header.data(), header.size());
    answer_.AppendToString(&bytes);
    const char* from = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
      const ssize_t put = ::write(kSocket, from, left);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return false;
      from += put;
      left -= static_cast<std::size_t>(put);
    }
    return true;
  }

  const LlamaModel& model_;
  const ChatTemplate* chat_;
  const unsigned seconds_;
  GrammarCache grammars_;
  BoundedCache<bool> quick_{64};  // agents repeat their tools: what was quick to set up is not tried again
  const std::uint64_t heap_at_start_;
  pb::PrepareWork work_;
  pb::PrepareAnswer answer_;
};

}  // namespace

void run_worker(const LlamaModel& model, const ChatTemplate* chat, unsigned seconds) {
  Worker(model, chat, seconds).run();
  ::_exit(0);
}

}  // namespace drover
