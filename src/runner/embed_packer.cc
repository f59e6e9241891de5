#include "runner/embed_packer.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace drover {

void EmbedPacker::add(RequestId request, std::vector<int> input_tokens) {
  DROVER_CHECK(!input_tokens.empty());
  waiting_inputs_ += static_cast<std::int64_t>(input_tokens.size());
  for (const int tokens : input_tokens) waiting_tokens_ += tokens;
  const bool is_new = waiting_.emplace(request, Waiting{std::move(input_tokens), 0}).second;
  DROVER_CHECK(is_new);
  turns_.push_back(request);
}

void EmbedPacker::remove(RequestId request) {
  const auto found = waiting_.find(request);
  if (found == waiting_.end()) return;
  const Waiting& waiting = found->second;
  for (std::size_t i = waiting.next; i < waiting.input_tokens.size(); ++i) {
    --waiting_inputs_;
    waiting_tokens_ -= waiting.input_tokens[i];
  }
  waiting_.erase(found);
}

std::vector<EmbedPacker::Picked> EmbedPacker::next(EmbedWorker worker) {
  if (waiting_.empty() || !may_begin(worker)) return {};
  std::vector<Picked> batch = pick(tokens_max(worker));
  recent_inputs_ = 0;
  if (worker == EmbedWorker::kWide) {
    wide_computes_ = true;
  } else {
    ++lanes_computing_;
    lane_inputs_ += static_cast<std::int64_t>(batch.size());
  }
  return batch;
}

void EmbedPacker::finished(EmbedWorker worker, std::size_t inputs) {
  const auto count = static_cast<std::int64_t>(inputs);
  if (worker == EmbedWorker::kWide) {
    DROVER_CHECK(std::exchange(wide_computes_, false));
    recent_inputs_ = waiting_.empty() ? 0 : count;
  } else {
    DROVER_CHECK(--lanes_computing_ >= 0);
    lane_inputs_ -= count;
    DROVER_CHECK(lane_inputs_ >= 0);
  }
}

// Called while inputs wait. Lanes pay once each of them can have an input.
bool EmbedPacker::may_begin(EmbedWorker worker) {
  if (wide_computes_) return false;
  const bool few = waiting_inputs_ + lane_inputs_ + recent_inputs_ < limits_.lanes;
  const bool is_for_wide = limits_.lanes == 0 || few || first_tokens() > limits_.lane_input_tokens;
  return worker == EmbedWorker::kWide ? is_for_wide && lanes_computing_ == 0 : !is_for_wide;
}

// Tokens of the input whose turn it is.
int EmbedPacker::first_tokens() {
  while (waiting_.count(turns_.front()) == 0) turns_.pop_front();
  const Waiting& waiting = waiting_.at(turns_.front());
  return waiting.input_tokens[waiting.next];
}

// A lane leaves the other lanes their share.
int EmbedPacker::tokens_max(EmbedWorker worker) const {
  if (worker == EmbedWorker::kWide) return limits_.wide_tokens;
  const std::int64_t share = (waiting_tokens_ + limits_.lanes - 1) / limits_.lanes;
  return static_cast<int>(std::min<std::int64_t>(share, limits_.lane_tokens));
}

std::vector<EmbedPacker::Picked> EmbedPacker::pick(int tokens_max) {
  std::vector<Picked> batch;
  std::deque<RequestId> passed_over;  // requests whose next input does not fit: they are first in the next batch
  int tokens = 0;
  while (!turns_.empty() && static_cast<int>(batch.size()) < limits_.inputs && tokens < tokens_max) {
    const RequestId request = turns_.front();
    turns_.pop_front();
    const auto found = waiting_.find(request);
    if (found == waiting_.end()) continue;
    Waiting& waiting = found->second;
    const int size = waiting.input_tokens[waiting.next];
    if (!batch.empty() && size > tokens_max - tokens) {
      passed_over.push_back(request);
      continue;
    }
    batch.push_back({request, waiting.next});
    tokens += size;
    --waiting_inputs_;
    waiting_tokens_ -= size;
    if (++waiting.next == waiting.input_tokens.size()) {
      waiting_.erase(found);
    } else {
      turns_.push_back(request);
    }
  }
  turns_.insert(turns_.begin(), passed_over.begin(), passed_over.end());
  return batch;
}

}  // namespace drover
