#include "runner/preparer.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "base/failed.h"
#include "base/work_page.h"
#include "prepare/prompt_wire.h"

namespace drover {
namespace {

// Ollama ends a generation at this multiple of the context length, so that a model that never stops frees its slot.
constexpr int kOutputPerContextMax = 10;

SamplerOptions sampler_options(const pb::Generate& work, RenderedPrompt& rendered, int context_max) {
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
  options.grammar = std::move(rendered.grammar);
  options.grammar_start = std::move(rendered.grammar_start);
  return options;
}

}  // namespace

Preparer::Preparer(const LlamaModel& model, Keeper& keeper, const PrepareLimits& limits, int context_length,
                   FrameChannel& channel, Mailbox<EngineMail>& engine)
    : model_(model),
      grammars_(model),
      context_length_(context_length),
      channel_(channel),
      engine_(engine),
      driver_(keeper, limits,
              {.on_answer =
                   [this](pb::PrepareWork& work, pb::PrepareAnswer& answer) {
                     finish(work.generate(), static_cast<int>(work.context_max()), *answer.mutable_prompt());
                   },
               .on_failed = [this](RequestId request, const Error& error) { refuse(request, error); },
               .on_canceled =
                   [this](RequestId request, bool here) {
                     if (!here) return;  // the engine ends it
                     pb::FromRunner frame;
                     frame.mutable_finished()->set_request(request.value);
                     frame.mutable_finished()->set_reason(pb::Finished::CANCELED);
                     channel_.write(frame);
                     engine_.post(Refused{request});
                   }}) {}

void Preparer::accept(pb::Generate work) {
  pb::PrepareWork item;
  item.set_context_max(static_cast<std::uint32_t>(context_max_of(work, context_length_)));
  *item.mutable_generate() = std::move(work);
  driver_.add(std::move(item));
}

void Preparer::refuse(RequestId request, const Error& error) {
  pb::FromRunner frame;
  frame.mutable_failed()->set_request(request.value);
  write_error(error, *frame.mutable_failed());
  channel_.write(frame);
  engine_.post(Refused{request});
}

void Preparer::finish(const pb::Generate& work, int context_max, pb::Prompt& made) {
  const RequestId request{work.request()};
  const AtWork at_work(request);
  auto prompt = read_prompt(made, model_.vocabulary_size());
  if (!prompt) return refuse(request, prompt.error());
  const bool fits = !prompt->tokens.empty() && prompt->tokens.size() < static_cast<std::size_t>(context_max);
  if (!fits && !work.render_only()) {  // the worker's doing: PromptMaker makes none like it
    return refuse(request, internal("what a request was prepared to has no room in the context"));
  }
  auto sampler = Sampler::create(model_, sampler_options(work, prompt->rendered, context_max), grammars_);
  if (!sampler) return refuse(request, sampler.error());
  std::vector<std::string> stops(work.stop().begin(), work.stop().end());
  stops.insert(stops.end(), prompt->rendered.stops.begin(), prompt->rendered.stops.end());
  OutputParser parser(std::move(prompt->rendered.syntax), std::move(stops));
  report_started(work, context_max, *prompt);

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

  auto output = std::make_unique<OutputJob>(OutputJob{.request = request, .parser = std::move(parser), .context = {}});
  output->want_context = work.want_context();
  output->one_call = work.chat().one_call();
  if (output->want_context) output->context = prompt->tokens;
  engine->prompt = std::move(prompt->tokens);
  engine_.post(Prepared{std::move(engine), std::move(output)});
}

void Preparer::report_started(const pb::Generate& work, int context_max, const MadePrompt& prompt) {
  pb::FromRunner frame;
  pb::Started& started = *frame.mutable_started();
  started.set_request(work.request());
  started.set_prompt_tokens(static_cast<std::uint32_t>(prompt.tokens.size()));
  started.set_dropped_messages(static_cast<std::uint32_t>(prompt.dropped_messages));
  started.set_dropped_tokens(static_cast<std::uint32_t>(prompt.dropped_tokens));
  if (prompt.dropped_messages + prompt.dropped_tokens > 0) {
    spdlog::warn("request {}: the prompt is too long for a context of {} tokens; left out: {} messages, {} tokens",
                 work.request(), context_max, prompt.dropped_messages, prompt.dropped_tokens);
  }
  if (work.render_only()) started.set_rendered_prompt(prompt.rendered.text);
  channel_.write(frame);
}

}  // namespace drover
