#include "runner/output_worker.h"

#include "base/failed.h"
#include "base/work_page.h"

namespace drover {

void OutputWorker::run(Mailbox<OutputMail>& mail) {
  std::vector<OutputMail> batch;
  while (mail.drain(batch, true)) {
    for (OutputMail& item : batch) {
      if (auto* begin = std::get_if<OutputBegin>(&item)) {
        const RequestId request = begin->job->request;
        jobs_.emplace(request, std::move(begin->job));
      } else if (auto* step = std::get_if<OutputStep>(&item)) {
        for (const OutputToken& token : step->tokens) on_token(token);
      } else {
        on_end(std::get<OutputEnd>(item));
      }
    }
    // Everything that was drained together is sent together: if the engine is ahead, frames get larger, not more
    // numerous.
    send_chunks();
  }
}

void OutputWorker::on_token(const OutputToken& token) {
  const auto found = jobs_.find(token.request);
  if (found == jobs_.end() || found->second->stop_reported) return;
  const AtWork at_work(token.request);
  OutputJob& job = *found->second;
  if (job.want_context) job.context.push_back(token.token);
  bytes_.clear();
  model_.append_piece(token.token, false, bytes_);
  OutputPiece piece;
  const bool stopped = job.parser.push(bytes_, piece);
  job.stop_reported = ends_with_call(job, piece) || stopped;
  if (!piece.empty() || !token.probabilities.empty()) {
    // One chunk per token, also if several go into one frame: the client's stream does not depend on timing.
    pb::Chunk& chunk = *chunks_.mutable_chunks()->add_chunks();
    chunk.set_request(token.request.value);
    fill(chunk, piece);
    if (!token.probabilities.empty()) add_logprobs(token, chunk);
  }
  if (job.stop_reported) engine_.post(StopFound{token.request});
}

void OutputWorker::on_end(OutputEnd& end) {
  const RequestId request{end.finished.request()};
  const auto found = jobs_.find(request);
  send_chunks();
  const AtWork at_work(request);
  pb::FromRunner frame;
  if (end.failure) {
    frame.mutable_failed()->set_request(request.value);
    write_error(*end.failure, *frame.mutable_failed());
  } else {
    *frame.mutable_finished() = std::move(end.finished);
    if (found != jobs_.end()) {
      OutputJob& job = *found->second;
      OutputPiece piece;
      const bool cut_off = frame.finished().reason() == pb::Finished::LENGTH;
      if (!job.called) job.parser.finish(cut_off, piece);
      ends_with_call(job, piece);
      frame.mutable_finished()->mutable_last()->set_request(request.value);
      fill(*frame.mutable_finished()->mutable_last(), piece);
      if (job.want_context) {
        frame.mutable_finished()->mutable_context()->Assign(job.context.begin(), job.context.end());
      }
    }
  }
  channel_.write(frame);
  if (found != jobs_.end()) jobs_.erase(found);
}

// If only one call is wanted, everything after the first is dropped. The first is final only when the next one begins.
bool OutputWorker::ends_with_call(OutputJob& job, OutputPiece& piece) {
  if (!job.one_call || piece.tool_calls.empty()) return false;
  piece.tool_calls.resize(1);
  return job.called = true;
}

void OutputWorker::send_chunks() {
  if (!chunks_.has_chunks() || chunks_.chunks().chunks_size() == 0) return;
  channel_.write(chunks_);
  chunks_.mutable_chunks()->Clear();
}

void OutputWorker::fill(pb::Chunk& chunk, OutputPiece& piece) {
  if (!piece.content.empty()) chunk.set_content(std::move(piece.content));
  if (!piece.thinking.empty()) chunk.set_thinking(std::move(piece.thinking));
  for (ParsedToolCall& call : piece.tool_calls) {
    pb::ToolCall& into = *chunk.add_tool_calls();
    into.set_id(std::move(call.id));
    into.set_name(std::move(call.name));
    into.set_arguments_json(std::move(call.arguments_json));
  }
}

void OutputWorker::add_logprobs(const OutputToken& token, pb::Chunk& chunk) const {
  pb::TokenLogprob& into = *chunk.add_logprobs();
  const auto set = [&](const TokenProbability& from, pb::TokenLogprob& to) {
    std::string bytes;
    model_.append_piece(from.token, true, bytes);
    to.set_token(bytes);
    to.set_logprob(from.logprob);
  };
  set(token.probabilities.front(), into);
  for (std::size_t i = 1; i < token.probabilities.size(); ++i) set(token.probabilities[i], *into.add_top());
}

}  // namespace drover
