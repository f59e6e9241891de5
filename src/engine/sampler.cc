#include "engine/sampler.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <exception>
#include <optional>

#include "base/check.h"
#include "engine/llama_model.h"
#include "engine/trigger_watch.h"
#include "engine/work_limit.h"

namespace drover {
namespace {

// Up to this top_k, candidates are picked from the logits directly, without copying or sorting the vocabulary.
constexpr int kDirectTopKMax = 256;
// From this size on, a pass over the logits takes longer than starting another thread on it.
constexpr int kCostlyVocabulary = 16'384;
// Limit on the beginning of an answer that a grammar reads while the request is prepared.
constexpr std::size_t kBegunBytesMax = 64 << 10;
constexpr Token kNoToken = -1;
constexpr Token kUnknownToken = -2;

// Limits of a grammar: usual processor time per token, plus time per token of the vocabulary, all of which it may have
// to check; the number of slow tokens in a row; and the factor that a slow token may take.
constexpr Duration kGrammarTime = std::chrono::milliseconds(10);
constexpr Duration kGrammarTimePerToken = std::chrono::nanoseconds(200);
constexpr int kSlowTokensMax = 2;
constexpr int kGrammarTimesMax = 10;

bool logit_greater(const llama_token_data& a, const llama_token_data& b) {
  return a.logit > b.logit;
}

// The first of the logits from `id` on that is above `lowest`, or `size`.
std::size_t skip_low(const float* logits, std::size_t id, std::size_t size, float lowest) {
  constexpr std::size_t kBlock = 64;
  for (; id + kBlock <= size; id += kBlock) {
    int above = 0;
#pragma omp simd reduction(| : above)
    for (std::size_t i = 0; i < kBlock; ++i) above |= logits[id + i] > lowest ? 1 : 0;
    if (above != 0) break;
  }
  while (id < size && !(logits[id] > lowest)) ++id;
  return id;
}

}  // namespace

struct Sampler::Parts {
  Parts(const LlamaModel& of, const SamplerOptions& with) : model(of), options(with) {}

  const LlamaModel& model;
  SamplerOptions options;
  SamplerPointer chain;
  SamplerPointer grammar;
  bool grammar_binds = true;
  std::string text_before_grammar;      // output so far, while waiting for grammar_start.text
  bool opened = false;                  // the output began with grammar_start.opening
  std::deque<Token> owed;               // the next tokens: the text that the grammar waits for
  std::optional<TriggerWatch> trigger;  // while the grammar waits for one of its words
  const Duration usual_time = kGrammarTime + kGrammarTimePerToken * model.vocabulary_size();
  Duration grammar_time{};  // for the current token
  int slow_tokens = 0;      // slow tokens in a row
  bool greedy = false;
  bool penalties = false;
  bool direct = false;  // candidates are the top_k logits, and `chain` leaves top_k out
  std::vector<llama_token_data> candidates;

  bool grammar_active() const { return grammar != nullptr && grammar_binds; }

  bool waits_for_text() const { return grammar != nullptr && !grammar_binds && !trigger; }

  // Whether the output, with this token, begins in a way that rules out the text that the grammar waits for.
  bool begins_otherwise(Token token) const {
    const std::string& opening = options.grammar_start.opening;
    if (grammar == nullptr || grammar_binds || trigger || opened || opening.empty()) return false;
    std::string text = text_before_grammar;
    model.append_piece(token, true, text);
    text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    return !text.starts_with(opening) && !opening.starts_with(text);
  }

  llama_token_data_array all_candidates(const float* logits) {
    candidates.resize(static_cast<std::size_t>(model.vocabulary_size()));
    for (std::size_t id = 0; id < candidates.size(); ++id) {
      candidates[id] = {static_cast<llama_token>(id), logits[id], 0.0f};
    }
    return {candidates.data(), candidates.size(), -1, false};
  }

  // The top_k likeliest tokens, likeliest first: one pass with a small heap.
  llama_token_data_array top_candidates(const float* logits) {
    const auto size = static_cast<std::size_t>(model.vocabulary_size());
    const std::size_t count = std::min(static_cast<std::size_t>(options.top_k), size);
    candidates.clear();
    for (std::size_t id = 0; id < count; ++id) candidates.push_back({static_cast<llama_token>(id), logits[id], 0.0f});
    std::make_heap(candidates.begin(), candidates.end(), logit_greater);
    const auto next = [&](std::size_t from) { return skip_low(logits, from, size, candidates.front().logit); };
    for (std::size_t id = next(count); id < size; id = next(id + 1)) {
      std::pop_heap(candidates.begin(), candidates.end(), logit_greater);
      candidates.back() = {static_cast<llama_token>(id), logits[id], 0.0f};
      std::push_heap(candidates.begin(), candidates.end(), logit_greater);
    }
    std::sort_heap(candidates.begin(), candidates.end(), logit_greater);
    return {candidates.data(), candidates.size(), -1, true};
  }

  // Runs the grammar, counts its time, and ends it when it takes too long.
  template <typename Work>
  void in_grammar(Work work) {
    const WorkLimit limit(usual_time * kGrammarTimesMax - grammar_time);
    work();
    grammar_time += limit.used();
  }

  // Lets the grammar read the beginning of an answer, which is not part of the output, within the time of one slow
  // token. Error: kInvalidArgument if the grammar does not accept it. Throws OverWorkLimit.
  Result<void> begin_with(const std::string& text) {
    if (text.size() > kBegunBytesMax) {
      return invalid("with `format`, the last message may begin an answer of at most 64 KiB");
    }
    std::vector<Token> tokens = model.tokenize(text, false);
    std::string read;
    for (const Token token : tokens) model.append_piece(token, true, read);
    // Some vocabularies add a space at the start of a text.
    if (read.size() == text.size() + 1 && read.ends_with(text)) {
      std::string first;
      model.append_piece(tokens.front(), true, first);
      tokens.front() = token_of(first.substr(1));
    }
    grammar_time = {};  // for all tokens of the beginning
    const auto fits = [&](Token token) {
      if (token < 0 || !grammar_allows(token)) return token == kNoToken;
      in_grammar([&] { llama_sampler_accept(grammar.get(), token); });
      if (grammar_time > usual_time * kGrammarTimesMax) throw OverWorkLimit();
      return true;
    };
    if (std::all_of(tokens.begin(), tokens.end(), fits)) return {};
    return invalid("the answer that the last message begins does not match `format`");
  }

  // The token of this text; kNoToken for an empty text, kUnknownToken if the vocabulary has no such token.
  Token token_of(const std::string& text) const {
    if (text.empty()) return kNoToken;
    std::string piece;
    for (Token token = 0; token < model.vocabulary_size(); ++token) {
      piece.clear();
      model.append_piece(token, false, piece);
      if (piece == text) return token;
    }
    return kUnknownToken;
  }

  bool grammar_allows(Token token) {
    llama_token_data single = {token, 1.0f, 0.0f};
    llama_token_data_array one = {&single, 1, -1, false};
    in_grammar([&] { llama_sampler_apply(grammar.get(), &one); });
    return single.logit != -INFINITY;
  }
};

namespace {

// Same order as llama.cpp's common sampler. `top_k`: false omits it, for candidates that are cut already.
SamplerPointer make_chain(const SamplerOptions& options, int vocabulary_size, bool penalties, bool top_k) {
  llama_sampler_chain_params params = llama_sampler_chain_default_params();
  params.no_perf = true;
  SamplerPointer chain(llama_sampler_chain_init(params));
  const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain.get(), sampler); };
  if (penalties) {
    add(llama_sampler_init_penalties(vocabulary_size, options.repeat_last_n, options.repeat_penalty,
                                     options.frequency_penalty, options.presence_penalty));
  }
  if (top_k) add(llama_sampler_init_top_k(options.top_k));
  add(llama_sampler_init_typical(options.typical_p, 0));
  add(llama_sampler_init_top_p(options.top_p, 0));
  add(llama_sampler_init_min_p(options.min_p, 0));
  add(llama_sampler_init_temp_ext(options.temperature, 0.0f, 1.0f));
  add(llama_sampler_init_dist(options.seed));
  return chain;
}

}  // namespace

GrammarTooSlow::GrammarTooSlow() : std::runtime_error("the grammar of this schema takes too long") {}

Sampler::Sampler(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Sampler::~Sampler() = default;

Result<std::unique_ptr<Sampler>> Sampler::create(const LlamaModel& model, const SamplerOptions& options,
                                                 GrammarCache& grammars) {
  auto parts = std::make_unique<Parts>(model, options);
  parts->penalties =
      options.repeat_last_n != 0 &&
      (options.repeat_penalty != 1.0f || options.presence_penalty != 0.0f || options.frequency_penalty != 0.0f);
  // Every other sampler keeps the likeliest token; `typical` may drop it.
  parts->greedy = options.temperature <= 0.0f && !parts->penalties && options.typical_p >= 1.0f;
  parts->direct = !parts->penalties && options.top_k > 0 && options.top_k <= kDirectTopKMax;
  parts->chain = make_chain(options, model.vocabulary_size(), parts->penalties, !parts->direct && options.top_k > 0);
  if (!options.grammar.empty()) {
    auto grammar = grammars.sampler(options.grammar, options.grammar_start);
    if (!grammar) return std::move(grammar).error();
    parts->grammar = std::move(*grammar);
    const GrammarStart& start = options.grammar_start;
    const bool words = start.trigger_words.size() == start.trigger_patterns.size();
    if (start.kind == GrammarStart::Kind::kOnTrigger && words) {
      parts->trigger.emplace(start.trigger_words, start.trigger_tokens);
    }
    parts->grammar_binds = start.kind != GrammarStart::Kind::kAfterText && !parts->trigger;
    if (start.kind == GrammarStart::Kind::kAtOnce) {
      try {
        if (auto begun = parts->begin_with(start.text); !begun) return std::move(begun).error();
      } catch (const OverWorkLimit&) {
        return invalid(GrammarTooSlow().what());
      }
    }
  }
  return std::unique_ptr<Sampler>(new Sampler(std::move(parts)));
}

void Sampler::accept_prompt(std::span<const Token> tokens) {
  if (!parts_->penalties) return;
  for (const Token token : tokens) llama_sampler_accept(parts_->chain.get(), token);
}

bool Sampler::is_costly() const {
  return parts_->grammar_active() || parts_->model.vocabulary_size() >= kCostlyVocabulary;
}

Token Sampler::sample(const float* logits) {
  parts_->grammar_time = {};
  try {
    const Token token = choose(logits);
    accept(token);
    check_grammar_time();
    return token;
  } catch (const OverWorkLimit&) {
    throw GrammarTooSlow();
  }
}

void Sampler::check_grammar_time() {
  Parts& parts = *parts_;
  parts.slow_tokens = parts.grammar_time > parts.usual_time ? parts.slow_tokens + 1 : 0;
  if (parts.slow_tokens > kSlowTokensMax || parts.grammar_time > parts.usual_time * kGrammarTimesMax)
    throw GrammarTooSlow();
}

Token Sampler::choose(const float* logits) {
  Parts& parts = *parts_;
  if (!parts.owed.empty()) {
    const Token next = parts.owed.front();
    parts.owed.pop_front();
    return next;
  }
  Token token = 0;
  if (parts.greedy) {
    token = static_cast<Token>(std::max_element(logits, logits + parts.model.vocabulary_size()) - logits);
  } else {
    llama_token_data_array array = parts.direct ? parts.top_candidates(logits) : parts.all_candidates(logits);
    llama_sampler_apply(parts.chain.get(), &array);
    token = array.data[array.selected].id;
  }
  if (parts.begins_otherwise(token)) parts.grammar_binds = true;
  if (parts.waits_for_text() && parts.model.ends_generation(token)) {
    // If the answer ended within the thinking, the grammar would never bind, so the thinking is ended first.
    const std::vector<Token> text = parts.model.tokenize(parts.options.grammar_start.text, true);
    parts.owed.assign(text.begin(), text.end());
    if (!parts.owed.empty()) return choose(logits);
    parts.grammar_binds = true;
  }
  if (!parts.grammar_active() || parts.grammar_allows(token)) return token;
  // The chosen token does not fit the grammar: apply the grammar to the whole vocabulary, then choose again.
  llama_token_data_array array = parts.all_candidates(logits);
  parts.in_grammar([&] { llama_sampler_apply(parts.grammar.get(), &array); });
  // llama.cpp would still choose a token, and abort the process if that is an end token.
  const auto is_allowed = [](const llama_token_data& each) { return each.logit != -INFINITY; };
  if (std::none_of(array.data, array.data + array.size, is_allowed))
    throw std::runtime_error("no token of the model matches the grammar");
  if (parts.direct) {
    const auto kept = std::min(static_cast<std::size_t>(parts.options.top_k), array.size);
    std::partial_sort(array.data, array.data + kept, array.data + array.size, logit_greater);
    array.size = kept;
    array.sorted = true;
  }
  llama_sampler_apply(parts.chain.get(), &array);
  return array.data[array.selected].id;
}

void Sampler::accept(Token token) {
  Parts& parts = *parts_;
  if (parts.penalties) llama_sampler_accept(parts.chain.get(), token);
  if (parts.grammar == nullptr) return;
  if (parts.grammar_binds) {
    parts.in_grammar([&] { llama_sampler_accept(parts.grammar.get(), token); });
    return;
  }
  if (parts.trigger) return watch_for_trigger(token);
  parts.model.append_piece(token, true, parts.text_before_grammar);
  const std::size_t length = parts.options.grammar_start.text.size();
  const std::string& opening = parts.options.grammar_start.opening;
  parts.opened = parts.opened || (!opening.empty() && parts.text_before_grammar.find(opening) != std::string::npos);
  if (parts.text_before_grammar.find(parts.options.grammar_start.text) != std::string::npos) {
    parts.grammar_binds = true;
  } else if (parts.text_before_grammar.size() > 4 * length + 256) {
    parts.text_before_grammar.erase(0, parts.text_before_grammar.size() - length);
  }
}

// llama.cpp's lazy grammar searches the whole output for each token, so it is given only the tokens that hold the
// trigger.
void Sampler::watch_for_trigger(Token token) {
  Parts& parts = *parts_;
  std::string piece;
  parts.model.append_piece(token, true, piece);
  const std::span<const Token> found = parts.trigger->push(token, piece);
  if (found.empty()) return;
  parts.in_grammar([&] {
    for (const Token each : found) llama_sampler_accept(parts.grammar.get(), each);
  });
  parts.grammar_binds = true;
  parts.trigger.reset();
}

std::vector<TokenProbability> Sampler::likeliest(const float* logits, int vocabulary_size, Token token, int count) {
  const float highest = *std::max_element(logits, logits + vocabulary_size);
  double sum = 0;
  for (int id = 0; id < vocabulary_size; ++id) sum += std::exp(static_cast<double>(logits[id] - highest));
  const auto logprob = [&](Token id) { return static_cast<float>(logits[id] - highest - std::log(sum)); };
  std::vector<Token> ids(static_cast<std::size_t>(vocabulary_size));
  for (int id = 0; id < vocabulary_size; ++id) ids[static_cast<std::size_t>(id)] = id;
  const int kept = std::min(count, vocabulary_size);
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(),
                    [&](Token a, Token b) { return logits[a] > logits[b]; });
  std::vector<TokenProbability> result = {{token, logprob(token)}};
  for (int i = 0; i < kept; ++i)
    result.push_back({ids[static_cast<std::size_t>(i)], logprob(ids[static_cast<std::size_t>(i)])});
  return result;
}

}  // namespace drover
