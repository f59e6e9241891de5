#include "prepare/prompt_maker.h"

#include <algorithm>
#include <optional>

#include "base/utf8.h"
#include "prepare/message_cut.h"

namespace drover {
namespace {

// A context must hold a prompt token and an output token.
constexpr int kContextMin = 4;

// Bytes per token: typical for most languages and vocabularies, and a generous bound for any text.
constexpr double kBytesPerTokenUsual = 4;
constexpr std::size_t kBytesPerTokenFar = 16;

constexpr const char* kPromptTooLong =
    "the prompt is longer than the context length currently available to the model; shorten the prompt, start a new "
    "conversation, or increase the context length";

// True if the conversation is far too long, so that rendering all of it first would waste time.
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

// `frame`: the chat without its messages.
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

int context_max_of(const pb::Generate& work, int context_length) {
  const int asked = static_cast<int>(std::min<std::uint32_t>(work.context_length(), 1u << 30));
  return std::max(asked > 0 ? std::min(asked, context_length) : context_length, kContextMin);
}

Result<MadePrompt> PromptMaker::make(const pb::Generate& work, int context_max) const {
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
  MadePrompt prompt;
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

Result<MadePrompt> PromptMaker::render(const pb::Generate& work, const pb::Chat& chat) const {
  auto rendered = chat_.render(chat, work.format());
  if (!rendered) return std::move(rendered).error();
  MadePrompt prompt;
  prompt.rendered = std::move(*rendered);
  if (auto added = add_tokens(work, prompt); !added) return std::move(added).error();
  return prompt;
}

// The tokens of the earlier exchange, followed by the tokens of the text.
Result<void> PromptMaker::add_tokens(const pb::Generate& work, MadePrompt& prompt) const {
  prompt.tokens.assign(work.context().begin(), work.context().end());
  for (const Token token : prompt.tokens) {
    if (token < 0 || token >= model_.vocabulary_size())
      return invalid("context has a token that is not in the model's vocabulary");
  }
  const std::vector<Token> tokens = model_.tokenize(prompt.rendered.text, prompt.tokens.empty());
  prompt.tokens.insert(prompt.tokens.end(), tokens.begin(), tokens.end());
  return {};
}

Result<MadePrompt> PromptMaker::make_chat_prompt(const pb::Generate& work, int context_max) const {
  auto prompt = is_far_too_long(work, context_max) ? render_what_fits(work, context_max, 0) : render(work, work.chat());
  if (!prompt) return prompt;
  if (static_cast<int>(prompt->tokens.size()) >= context_max && work.truncate()) {
    prompt = render_what_fits(work, context_max, prompt->tokens.size());
    if (!prompt) return prompt;
  }
  if (auto fitted = fit(work, context_max, *prompt); !fitted) return std::move(fitted).error();
  return prompt;
}

// Ollama's rule: drops the oldest messages, as few as possible, and keeps system messages and the last message.
// `whole_tokens`: tokens of the prompt with all messages; 0: it was not rendered.
Result<MadePrompt> PromptMaker::render_what_fits(const pb::Generate& work, int context_max,
                                                 std::size_t whole_tokens) const {
  const auto& messages = work.chat().messages();
  const std::vector<int> may_go = droppable(work.chat());
  if (may_go.empty()) return render(work, work.chat());
  pb::Chat frame = work.chat();
  frame.clear_messages();
  // Estimate: the number of tokens is proportional to the number of bytes.
  std::vector<double> sizes;
  for (const int index : may_go) sizes.push_back(static_cast<double>(messages[index].ByteSizeLong()));
  const double bytes = static_cast<double>(work.chat().ByteSizeLong());
  const double bytes_per_token = whole_tokens > 0 ? bytes / static_cast<double>(whole_tokens) : kBytesPerTokenUsual;
  const double over = bytes - (context_max - 1) * bytes_per_token;
  std::optional<Result<MadePrompt>> last;
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
  // A template may omit parts of its input.
  if (dropped == 1 && whole_tokens == 0 && fits(0)) dropped = 0;
  if (!last || last_dropped != dropped) last = render(work, without(work.chat(), frame, may_go, dropped));
  if (*last) (*last)->dropped_messages = dropped;
  return std::move(*last);
}

Result<MadePrompt> PromptMaker::make_infill_prompt(const pb::Infill& infill) const {
  const InfillTokens& tokens = model_.infill();
  if (!tokens.complete()) return invalid("the model does not support insert");
  MadePrompt prompt;
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
Result<void> PromptMaker::fit(const pb::Generate& work, int context_max, MadePrompt& prompt) const {
  std::vector<Token>& tokens = prompt.tokens;
  if (tokens.empty()) {
    // At least one token must be computed before one can be sampled.
    tokens = model_.tokenize("\n", true);
    if (tokens.empty()) return invalid("the prompt is empty");
  }
  const int size = static_cast<int>(tokens.size());
  if (size < context_max) return {};
  if (work.render_only() && !work.truncate()) return {};  // the prompt is not computed
  if (!work.truncate()) return Error{ErrorCode::kPromptTooLong, kPromptTooLong};
  const int room = context_max - 1;
  const int keep = std::min(static_cast<int>(work.keep()), room / 2);
  prompt.dropped_tokens = static_cast<std::size_t>(size - room);
  tokens.erase(tokens.begin() + keep, tokens.begin() + keep + (size - room));
  return {};
}

}  // namespace drover
