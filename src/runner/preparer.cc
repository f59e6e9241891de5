#include "runner/preparer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <exception>
#include <optional>

#include "base/quote.h"
#include "runner/message_cut.h"

namespace drover {
namespace {

// Ollama ends a generation at so many times the context length, so that a model that never stops frees its place.
constexpr int kOutputPerContextMax = 10;
// A context must hold a prompt token and an output token.
constexpr int kContextMin = 4;

// Of text: about as many as in most languages and vocabularies, and many more than on average in any text.
constexpr double kBytesPerTokenUsual = 4;
constexpr std::size_t kBytesPerTokenFar = 16;

constexpr const char* kPromptTooLong =
    "the prompt is longer than the context length currently available to the model; shorten the prompt, start a new "
    "conversation, or increase the context length";

SamplerOptions sampler_options(const pb::Generate& work, const RenderedPrompt& rendered, int context_max) {
  const pb::Sampling& from = work.sampling();
  SamplerOptions options;
  options.seed = from.seed();
  options.temperature = from.temperature();
  options.top_k = from.top_k();
  options.top_p = from.top_p();
  options.min_p = from.min_p();
  options.typical_p = from.typical_p();
  options.repeat_last_n = from.repeat_last_n() < 0 ? context_max : std::min(from.repeat_last_n(), context_max);
  options.repeat_penalty = from.repeat_penalty();
  options.presence_penalty = from.presence_penalty();
  options.frequency_penalty = from.frequency_penalty();
  options.grammar = rendered.grammar;
  options.grammar_start = rendered.grammar_start;
  return options;
}

// Whether it is no use to render the whole conversation first, which takes time in proportion to it.
bool is_far_too_long(const pb::Generate& work, int context_max) {
  std::size_t bytes = 0;
  for (const pb::Message& message : work.chat().messages()) bytes += message.content().size();
  return work.truncate() && bytes > kBytesPerTokenFar * static_cast<std::size_t>(context_max);
}

// The messages that may be dropped, by index, oldest first.
std::vector<int> droppable(const pb::Chat& chat) {
  std::vector<int> indices;
  for (int i = 0; i + 1 < chat.messages_size(); ++i) {
    if (chat.messages(i).role() != "system") indices.push_back(i);
  }
  return indices;
}

// `frame`: the chat without any of its messages.
pb::Chat without(const pb::Chat& chat, const pb::Chat& frame, const std::vector<int>& may_go, std::size_t dropped) {
  pb::Chat rest = frame;
  std::size_t next = 0;
  for (int i = 0; i < chat.messages_size(); ++i) {
    if (next < dropped && may_go[next] == i) {
      ++next;
    } else {
      *rest.add_messages() = chat.messages(i);
    }
  }
  return rest;
}

}  // namespace

void Preparer::run(Mailbox<pb::Generate>& requests) {
  std::vector<pb::Generate> batch;
  while (requests.drain(batch, true)) {
    for (pb::Generate& work : batch) {
      const RequestId request{work.request()};
      try {
        prepare(work);
      } catch (const std::exception& error) {
        refuse(request, pb::Failed::INTERNAL, error.what());
      }
    }
  }
}

void Preparer::refuse(RequestId request, pb::Failed::Kind kind, const std::string& message) {
  pb::FromRunner frame;
  frame.mutable_failed()->set_request(request.value);
  frame.mutable_failed()->set_kind(kind);
  frame.mutable_failed()->set_message(message);
  channel_.write(frame);
  engine_.post(Refused{request});
}

void Preparer::prepare(pb::Generate& work) {
  const RequestId request{work.request()};
  const int asked = static_cast<int>(std::min<std::uint32_t>(work.context_length(), 1u << 30));
  const int context_max = std::max(asked > 0 ? std::min(asked, context_length_) : context_length_, kContextMin);
  auto prompt = make_prompt(work, context_max);
  if (!prompt) {
    const bool theirs = prompt.error().code == ErrorCode::kInvalidArgument;
    return refuse(request, theirs ? pb::Failed::INVALID : pb::Failed::INTERNAL, prompt.error().message);
  }
  auto sampler = Sampler::create(model_, sampler_options(work, prompt->rendered, context_max), grammars_);
  if (!sampler) return refuse(request, pb::Failed::INVALID, sampler.error().message);

  pb::FromRunner started;
  started.mutable_started()->set_request(request.value);
  started.mutable_started()->set_prompt_tokens(static_cast<std::uint32_t>(prompt->tokens.size()));
  started.mutable_started()->set_dropped_messages(static_cast<std::uint32_t>(prompt->dropped_messages));
  started.mutable_started()->set_dropped_tokens(static_cast<std::uint32_t>(prompt->dropped_tokens));
  if (prompt->dropped_messages + prompt->dropped_tokens > 0) {
    spdlog::warn("request {}: the prompt is too long for a context of {} tokens; left out: {} messages, {} tokens",
                 work.request(), context_max, prompt->dropped_messages, prompt->dropped_tokens);
  }
  if (work.render_only()) started.mutable_started()->set_rendered_prompt(prompt->rendered.text);
  channel_.write(started);

  auto engine = std::make_unique<EngineJob>();
  engine->request = request;
  engine->sampler = std::move(*sampler);
  engine->sampler->accept_prompt(prompt->tokens);
  engine->context_max = context_max;
  const std::int64_t output_cap = static_cast<std::int64_t>(kOutputPerContextMax) * context_max;
  engine->output_max = static_cast<int>(work.predict_max() < 0 ? output_cap : std::min(work.predict_max(), output_cap));
  if (work.render_only()) engine->output_max = 0;
  engine->keep = static_cast<int>(std::min<std::size_t>(work.keep(), prompt->tokens.size()));
  engine->shift = work.shift();
  engine->time_max = std::chrono::milliseconds(work.generation_ms_max());
  engine->top_logprobs = work.logprobs() ? static_cast<int>(work.top_logprobs()) : -1;

  std::vector<std::string> stops(work.stop().begin(), work.stop().end());
  stops.insert(stops.end(), prompt->rendered.stops.begin(), prompt->rendered.stops.end());
  auto output = std::make_unique<OutputJob>(
      OutputJob{.request = request, .parser = OutputParser(prompt->rendered.syntax, std::move(stops)), .context = {}});
  output->want_context = work.want_context();
  output->one_call = work.chat().one_call();
  if (output->want_context) output->context = prompt->tokens;
  engine->prompt = std::move(prompt->tokens);
  engine_.post(Prepared{std::move(engine), std::move(output)});
}

Result<Preparer::Prompt> Preparer::make_prompt(const pb::Generate& work, int context_max) const {
  if (work.has_chat()) return make_chat_prompt(work, context_max);
  if (work.has_infill()) {
    auto prompt = make_infill_prompt(work.infill());
    if (!prompt) return prompt;
    if (work.render_only()) {
      for (const Token token : prompt->tokens) model_.append_piece(token, true, prompt->rendered.text);
    }
    if (auto fitted = fit(work, context_max, *prompt); !fitted) return std::move(fitted).error();
    return prompt;
  }
  Prompt prompt;
  auto grammar = grammar_for(work.format());
  if (!grammar) return std::move(grammar).error();
  prompt.rendered.grammar = std::move(*grammar);
  prompt.rendered.text = work.raw_prompt();
  if (auto added = add_tokens(work, prompt); !added) return std::move(added).error();
  if (work.render_only()) {
    std::string before;
    for (const std::uint32_t token : work.context()) model_.append_piece(static_cast<Token>(token), true, before);
    prompt.rendered.text.insert(0, valid_utf8(before));
  }
  if (auto fitted = fit(work, context_max, prompt); !fitted) return std::move(fitted).error();
  return prompt;
}

Result<Preparer::Prompt> Preparer::render(const pb::Generate& work, const pb::Chat& chat) const {
  auto rendered = chat_.render(chat, work.format());
  if (!rendered) return std::move(rendered).error();
  Prompt prompt;
  prompt.rendered = std::move(*rendered);
  if (auto added = add_tokens(work, prompt); !added) return std::move(added).error();
  return prompt;
}

// Those of an earlier exchange, and behind them those of the text.
Result<void> Preparer::add_tokens(const pb::Generate& work, Prompt& prompt) const {
  prompt.tokens.assign(work.context().begin(), work.context().end());
  for (const Token token : prompt.tokens) {
    if (token < 0 || token >= model_.vocabulary_size())
      return invalid("context holds a token that the model does not have");
  }
  const std::vector<Token> tokens = model_.tokenize(prompt.rendered.text, prompt.tokens.empty());
  prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  return {};
}

Result<Preparer::Prompt> Preparer::make_chat_prompt(const pb::Generate& work, int context_max) const {
  auto prompt = is_far_too_long(work, context_max) ? render_what_fits(work, context_max, 0) : render(work, work.chat());
  if (!prompt) return prompt;
  if (static_cast<int>(prompt->tokens.size()) >= context_max && work.truncate()) {
    prompt = render_what_fits(work, context_max, prompt->tokens.size());
    if (!prompt) return prompt;
  }
  if (auto fitted = fit(work, context_max, *prompt); !fitted) return std::move(fitted).error();
  return prompt;
}

// Ollama's rule: the oldest messages go first, as few as possible; those of the system and the last one stay.
// `whole_tokens`: of the prompt with all of them; 0: it was not worth rendering.
Result<Preparer::Prompt> Preparer::render_what_fits(const pb::Generate& work, int context_max,
                                                    std::size_t whole_tokens) const {
  const auto& messages = work.chat().messages();
  const std::vector<int> may_go = droppable(work.chat());
  if (may_go.empty()) return render(work, work.chat());
  pb::Chat frame = work.chat();
  frame.clear_messages();
  // Tokens are in proportion to bytes, as an estimate.
  std::vector<double> sizes;
  for (const int index : may_go) sizes.push_back(static_cast<double>(messages[index].ByteSizeLong()));
  const double bytes = static_cast<double>(work.chat().ByteSizeLong());
  const double bytes_per_token = whole_tokens > 0 ? bytes / static_cast<double>(whole_tokens) : kBytesPerTokenUsual;
  const double over = bytes - (context_max - 1) * bytes_per_token;
  std::optional<Result<Prompt>> last;
  std::size_t last_dropped = 0;
  const auto fits = [&](std::size_t dropped) {
    auto prompt = render(work, without(work.chat(), frame, may_go, dropped));
    // Some templates refuse a conversation that begins with an answer.
    if (!prompt && dropped > 0) prompt = render(work, without(work.chat(), frame, may_go, dropped + 1));
    const bool good = prompt && static_cast<int>(prompt->tokens.size()) < context_max;
    if (good) {
      last = std::move(prompt);
      last_dropped = dropped;
    }
    return good;
  };
  std::size_t dropped = messages_to_drop(sizes, over, fits);
  // A template need not show all that it is given.
  if (dropped == 1 && whole_tokens == 0 && fits(0)) dropped = 0;
  if (!last || last_dropped != dropped) last = render(work, without(work.chat(), frame, may_go, dropped));
  if (*last) (*last)->dropped_messages = dropped;
  return std::move(*last);
}

Result<Preparer::Prompt> Preparer::make_infill_prompt(const pb::Infill& infill) const {
  const InfillTokens& tokens = model_.infill();
  if (!tokens.complete()) return invalid("the model does not support insert");
  Prompt prompt;
  const auto append = [&](const std::vector<Token>& part) {
    prompt.tokens.insert(prompt.tokens.end(), part.begin(), part.end());
  };
  append(model_.tokenize("", true));
  prompt.tokens.push_back(tokens.prefix);
  append(model_.tokenize(infill.prefix(), false));
  prompt.tokens.push_back(tokens.suffix);
  append(model_.tokenize(infill.suffix(), false));
  prompt.tokens.push_back(tokens.middle);
  return prompt;
}

// Makes the prompt leave room for at least one output token.
Result<void> Preparer::fit(const pb::Generate& work, int context_max, Prompt& prompt) const {
  std::vector<Token>& tokens = prompt.tokens;
  if (tokens.empty()) {
    // Something has to be computed before a token can be chosen.
    tokens = model_.tokenize("\n", true);
    if (tokens.empty()) return invalid("the prompt is empty");
  }
  const int size = static_cast<int>(tokens.size());
  if (size < context_max) return {};
  if (work.render_only() && !work.truncate()) return {};  // nothing is computed from it
  if (!work.truncate()) return invalid(kPromptTooLong);
  const int room = context_max - 1;
  const int keep = std::min(static_cast<int>(work.keep()), room / 2);
  prompt.dropped_tokens = static_cast<std::size_t>(size - room);
  tokens.erase(tokens.begin() + keep, tokens.begin() + keep + (size - room));
  return {};
}

}  // namespace drover
