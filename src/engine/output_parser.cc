#include "engine/output_parser.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <utility>

#include "base/text.h"
#include "base/utf8.h"
#include "chat.h"

namespace drover {
namespace {

// llama.cpp's parser reads a byte of output at most this many times. Up to 8 times this many bytes it runs for each
// token; at 64 KiB, for about every 64th token.
constexpr std::size_t kParsedPerByteMax = 256;
// Within calls, output is sent only when the next call begins.
constexpr std::size_t kParsedPerByteOfCallsMax = 16;

std::string new_call_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id = "call_";
  for (int i = 0; i < 8; ++i) id += kLetters[random() % (sizeof kLetters - 1)];
  return id;
}

}  // namespace

// Splits "<think>…</think>answer" as it comes.
class OutputParser::ThinkingSplitter {
 public:
  explicit ThinkingSplitter(const OutputSyntax& syntax)
      : start_(syntax.thinking_start),
        end_(syntax.thinking_end),
        state_(syntax.starts_in_thinking ? State::kThinking : State::kBefore) {
    if (syntax.begun == OutputSyntax::Begun::kContent) state_ = State::kAnswer;
    if (syntax.begun != OutputSyntax::Begun::kNothing) trim_start_ = false;
  }

  void push(std::string_view text, bool last, OutputPiece& out) {
    held_ += text;
    bool again = true;
    while (again && !held_.empty()) {
      switch (state_) {
        case State::kBefore:
          again = before(last);
          break;
        case State::kThinking:
          again = thinking(last, out);
          break;
        case State::kAnswer:
          again = answer(out);
          break;
      }
    }
  }

 private:
  enum class State { kBefore, kThinking, kAnswer };

  bool before(bool last) {
    const auto first = held_.find_first_not_of(" \t\r\n");
    const std::string_view text =
        first == std::string::npos ? std::string_view() : std::string_view(held_).substr(first);
    if (!start_.empty() && text.size() >= start_.size() && text.substr(0, start_.size()) == start_) {
      held_.erase(0, first + start_.size());
      state_ = State::kThinking;
      trim_start_ = true;
      return true;
    }
    const bool undecided =
        !last && (text.empty() || (text.size() < start_.size() && start_.compare(0, text.size(), text) == 0));
    if (undecided) return false;
    state_ = State::kAnswer;
    trim_start_ = false;
    return true;
  }

  bool thinking(bool last, OutputPiece& out) {
    const auto end = held_.find(end_);
    std::size_t certain = end != std::string::npos ? end
                          : last                   ? held_.size()
                                                   : held_.size() - partial_match(held_, end_);
    // White space before the end tag belongs to the tag.
    std::size_t shown = certain;
    if (end != std::string::npos || !last) {
      while (shown > 0 && is_blank(held_[shown - 1])) --shown;
    }
    std::size_t from = 0;
    if (trim_start_) {
      while (from < shown && is_blank(held_[from])) ++from;
      if (from < shown) trim_start_ = false;
    }
    out.thinking += held_.substr(from, shown - from);
    if (end == std::string::npos) {
      held_.erase(0, shown);
      return false;
    }
    held_.erase(0, end + end_.size());
    state_ = State::kAnswer;
    trim_start_ = true;
    return true;
  }

  bool answer(OutputPiece& out) {
    std::size_t from = 0;
    if (trim_start_) {
      while (from < held_.size() && is_blank(held_[from])) ++from;
      if (from < held_.size()) trim_start_ = false;
    }
    out.content += held_.substr(from);
    held_.clear();
    return false;
  }

  std::string start_, end_, held_;
  State state_;
  bool trim_start_ = true;
};

// Passes the plain part of an output on until a tool call begins.
class OutputParser::ContentGate {
 public:
  explicit ContentGate(const OutputSyntax& syntax) : starts_(syntax.tool_starts) {
    if (syntax.thinking_end.empty()) return;
    thinking_ = std::make_unique<ThinkingSplitter>(syntax);
  }

  // The number of bytes at the end of `text` that belong to calls; 0 if no call has begun.
  std::size_t push(std::string_view text, End end, OutputPiece& out) {
    const bool last = end != End::kNotYet;
    OutputPiece piece;
    if (thinking_) {
      thinking_->push(text, last, piece);
      out.thinking += piece.thinking;
      held_ += piece.content;
    } else {
      held_ += text;
    }
    std::size_t start = std::string::npos;
    std::size_t undecided = 0;
    for (const std::string& word : starts_) {
      start = std::min(start, held_.find(word));
      undecided = std::max(undecided, partial_match(held_, word));
    }
    const bool closed = start != std::string::npos;
    // What was cut off within the word that begins a call is no text either.
    const bool begins = closed || (end == End::kCutOff && undecided >= kBeginningBytesMin);
    std::size_t certain = closed ? start : last && !begins ? held_.size() : held_.size() - undecided;
    // White space before a call belongs to the call.
    while ((begins || !last) && certain > 0 && is_blank(held_[certain - 1])) --certain;
    out.content += held_.substr(0, certain);
    const std::size_t rest = closed ? held_.size() - start : 0;
    held_.erase(0, certain);
    return rest;
  }

 private:
  const std::vector<std::string> starts_;
  std::unique_ptr<ThinkingSplitter> thinking_;
  std::string held_;
};

// llama.cpp's parser reads the whole text in each call. If the syntax says how tool calls begin, it runs only from
// there on. It never reads more than kParsedPerByteMax times the output in all, so the cost per token does not depend
// on the length.
class OutputParser::TemplateParser {
 public:
  explicit TemplateParser(const OutputSyntax& syntax) {
    if (syntax.format < 0 || syntax.format >= COMMON_CHAT_FORMAT_COUNT) throw std::invalid_argument("no such format");
    params_.format = static_cast<common_chat_format>(syntax.format);
    params_.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    params_.generation_prompt = syntax.generation_prompt;
    params_.parser.load(syntax.parser);
    if (!syntax.tool_starts.empty()) gate_ = std::make_unique<ContentGate>(syntax);
    gated_ = gate_ != nullptr;
    if (syntax.begun != OutputSyntax::Begun::kNothing) skip_begun();
  }

  void push(std::string_view text, End end, OutputPiece& out) {
    const bool last = end != End::kNotYet;
    text_ += text;
    if (text_only_) {
      out.content += text;
      return;
    }
    if (gate_) {
      OutputPiece piece;
      const std::size_t rest = gate_->push(text, end, piece);
      sent_content_ += piece.content;
      sent_bytes_ = text_.size() - rest;
      out.content += piece.content;
      out.thinking += piece.thinking;
      if (rest == 0) return;
      gate_.reset();
    }
    const std::size_t per_byte = gated_ ? kParsedPerByteOfCallsMax : kParsedPerByteMax;
    if (!last && parsed_ + text_.size() > per_byte * text_.size()) return;
    parsed_ += text_.size();
    parse(end, out);
  }

  std::size_t parsed_bytes() const { return parsed_; }

 private:
  // The parser also reads the end of the prompt, which holds the part of the answer that the client has already. If it
  // does not find that part, it cannot tell what is new, so the output is treated as text.
  void skip_begun() {
    try {
      const common_chat_msg begun = common_chat_parse("", true, params_);
      sent_content_ = begun.content;
      sent_thinking_ = begun.reasoning_content;
    } catch (const std::exception&) {
    }
    text_only_ = !gate_ && sent_content_.empty() && sent_thinking_.empty();
  }

  void parse(End end, OutputPiece& out) {
    const bool last = end != End::kNotYet;
    common_chat_msg message;
    bool open = !last;  // more of it may come, or would have come
    bool fits = read(open, message);
    // What was cut off within its first call is the beginning of that call, and no text.
    if (end == End::kCutOff && gated_ && message.tool_calls.empty()) {
      common_chat_msg beginning;
      if (read(true, beginning)) {
        message = std::move(beginning);
        open = fits = true;
      }
    }
    if (!fits) {
      // Text that does not fit the format is still the model's answer.
      if (last && calls_sent_ == 0 && (gated_ || sent_content_.empty())) out.content += text_.substr(sent_bytes_);
      return;
    }
    append_new(message.content, sent_content_, out.content);
    if (!gated_) append_new(message.reasoning_content, sent_thinking_, out.thinking);
    // A call is final once the next call begins, or the output ends without being cut off.
    std::size_t certain = open ? std::max<std::size_t>(message.tool_calls.size(), 1) - 1 : message.tool_calls.size();
    if (last && certain > calls_sent_ && !is_complete(message.tool_calls.back())) {
      --certain;
      if (end == End::kByModel && calls_sent_ == 0 && certain == 0) out.content += text_.substr(sent_bytes_);
    }
    for (std::size_t i = calls_sent_; i < certain; ++i) {
      const common_chat_tool_call& call = message.tool_calls[i];
      out.tool_calls.push_back({call.id.empty() ? new_call_id() : call.id, call.name, call.arguments});
    }
    calls_sent_ = std::max(calls_sent_, certain);
  }

  // Takes all of the text apart; `open`: it may end anywhere. False: it does not fit the format.
  bool read(bool open, common_chat_msg& message) const {
    try {
      message = common_chat_parse(text_, open, params_);
      return true;
    } catch (const std::exception& error) {
      if (!open) spdlog::debug("the output does not fit the template's format: {}", error.what());
      return false;
    }
  }

  // llama.cpp closes the braces of a call once it has seen its end.
  static bool is_complete(const common_chat_tool_call& call) {
    return call.arguments.empty() || nlohmann::json::accept(call.arguments);
  }

  // Sends the part of `now` that was not sent yet. If `now` does not continue the sent text, nothing is sent.
  static void append_new(const std::string& now, std::string& sent, std::string& out) {
    if (now.size() <= sent.size() || now.compare(0, sent.size(), sent) != 0) return;
    out += now.substr(sent.size());
    sent = now;
  }

  common_chat_parser_params params_;
  std::unique_ptr<ContentGate> gate_;  // null if there is none, or if a call has begun
  bool gated_ = false;                 // there is or was a gate
  bool text_only_ = false;
  std::string text_;
  std::size_t sent_bytes_ = 0;  // bytes of the text that the gate let through
  std::size_t parsed_ = 0;
  std::string sent_content_;
  std::string sent_thinking_;
  std::size_t calls_sent_ = 0;
};

std::size_t OutputParser::parsed_bytes() const {
  return parser_ ? parser_->parsed_bytes() : 0;
}

OutputParser::OutputParser(OutputSyntax syntax, std::vector<std::string> stops)
    : syntax_(std::move(syntax)), stops_(std::move(stops)) {
  std::erase(stops_, std::string());
  if (syntax_.kind == OutputSyntax::Kind::kThinking) {
    thinking_ = std::make_unique<ThinkingSplitter>(syntax_);
  } else if (syntax_.kind == OutputSyntax::Kind::kParser) {
    parser_ = std::make_unique<TemplateParser>(syntax_);
  }
  if (!syntax_.tools_json.empty()) calls_ = std::make_unique<JsonCalls>(syntax_.tool_tag, syntax_.tools_json);
}

OutputParser::OutputParser(OutputParser&&) noexcept = default;
OutputParser::~OutputParser() = default;

bool OutputParser::push(std::string_view bytes, OutputPiece& out) {
  if (stopped_) return true;
  held_ += bytes;
  std::size_t stop = std::string::npos;
  std::size_t undecided = incomplete_utf8_bytes(held_);
  for (const std::string& word : stops_) {
    stop = std::min(stop, held_.find(word));
    undecided = std::max(undecided, partial_match(held_, word));
  }
  stopped_ = stop != std::string::npos;
  const std::size_t certain = stopped_ ? stop : held_.size() - undecided;
  pass(std::string_view(held_).substr(0, certain), End::kNotYet, out);
  held_.erase(0, certain);
  if (stopped_) held_.clear();
  return stopped_;
}

void OutputParser::finish(bool cut_off, OutputPiece& out) {
  held_.resize(held_.size() - incomplete_utf8_bytes(held_));
  pass(held_, cut_off ? End::kCutOff : End::kByModel, out);
  held_.clear();
}

void OutputParser::pass(std::string_view text, End end, OutputPiece& out) {
  const bool last = end != End::kNotYet;
  if (text.empty() && !last) return;
  const std::string valid = valid_utf8(text);  // a model can output any bytes
  if (parser_) return parser_->push(valid, end, out);
  OutputPiece piece;
  if (thinking_) {
    thinking_->push(valid, last, piece);
  } else {
    piece.content = valid;
  }
  if (calls_) take_calls(end, piece);
  out.content += piece.content;
  out.thinking += piece.thinking;
  std::move(piece.tool_calls.begin(), piece.tool_calls.end(), std::back_inserter(out.tool_calls));
}

// Moves the calls out of a piece's content.
void OutputParser::take_calls(End end, OutputPiece& piece) {
  std::vector<JsonCalls::Call> calls;
  const std::string content = std::exchange(piece.content, {});
  calls_->push(content, end == End::kByModel, piece.content, calls);
  if (end == End::kCutOff) calls_->cut_off(piece.content);
  for (JsonCalls::Call& call : calls) {
    piece.tool_calls.push_back({new_call_id(), std::move(call.name), std::move(call.arguments_json)});
  }
}

}  // namespace drover
