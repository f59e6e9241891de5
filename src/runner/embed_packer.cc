#include "runner/embed_packer.h"

#include <utility>

#include "base/check.h"

namespace drover {

void EmbedPacker::add(RequestId request, std::vector<int> input_tokens) {
  DROVER_CHECK(!input_tokens.empty());
  const bool is_new = waiting_.emplace(request, Waiting{std::move(input_tokens), 0}).second;
  DROVER_CHECK(is_new);
  turns_.push_back(request);
}

void EmbedPacker::remove(RequestId request) {
  waiting_.erase(request);
}

std::vector<EmbedPacker::Picked> EmbedPacker::next() {
  std::vector<Picked> batch;
  std::deque<RequestId> passed_over;  // whose next input does not fit any more: they are first in the next batch
  int tokens = 0;
  while (!turns_.empty() && static_cast<int>(batch.size()) < inputs_max_ && tokens < tokens_max_) {
    const RequestId request = turns_.front();
    turns_.pop_front();
    const auto found = waiting_.find(request);
    if (found == waiting_.end()) continue;
    Waiting& waiting = found->second;
    const int size = waiting.input_tokens[waiting.next];
    if (!batch.empty() && size > tokens_max_ - tokens) {
      passed_over.push_back(request);
      continue;
    }
    batch.push_back({request, waiting.next});
    tokens += size;
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
