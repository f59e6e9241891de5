#include "fleet/model_table.h"

#include <utility>

namespace drover {

ServedModel& ModelTable::of(const ModelTarget& target, const std::function<bool(const ServedModel&)>& is_used) {
  if (ServedModel* known = find(target.key)) {
    known->target = target;
    return *known;
  }
  if (by_key_.size() >= kModelsMax) {
    std::erase_if(by_id_, [&](const auto& entry) { return !is_used(*entry.second); });
    std::erase_if(by_key_, [&](const auto& entry) { return !by_id_.contains(entry.second->id); });
  }
  auto model = std::make_unique<ServedModel>();
  model->id = ModelId{++made_};
  model->target = target;
  by_id_.emplace(model->id, model.get());
  return *by_key_.emplace(target.key, std::move(model)).first->second;
}

ServedModel* ModelTable::find(const std::string& key) {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second.get();
}

const ServedModel* ModelTable::find(const std::string& key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second.get();
}

}  // namespace drover
