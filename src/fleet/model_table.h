// The models that requests name, by what makes two of them one. Bounded. I/O thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "fleet/model_target.h"
#include "policy/wait_estimate.h"

namespace drover {

struct ServedModel {
  ModelId id;
  ModelTarget target;  // of the request that came last
  ServiceHistory services;
  Duration last_load{};  // how long its last load took; zero: unknown
  bool failed = false;   // its last runner crashed or hung
};

class ModelTable {
 public:
  static constexpr std::size_t kModelsMax = 1024;

  // The model of this target, which is its latest one from now on. If there are kModelsMax and it is new, those go
  // first that `is_used` does not hold for; the others stay where they are.
  ServedModel& of(const ModelTarget& target, const std::function<bool(const ServedModel&)>& is_used);
  // nullptr: nobody has asked for it, or it was forgotten.
  ServedModel* find(const std::string& key);
  const ServedModel* find(const std::string& key) const;
  // One that is used.
  ServedModel& at(ModelId id) { return *by_id_.at(id); }
  const ServedModel& at(ModelId id) const { return *by_id_.at(id); }
  std::size_t size() const { return by_key_.size(); }

 private:
  std::unordered_map<std::string, std::unique_ptr<ServedModel>> by_key_;
  std::unordered_map<ModelId, ServedModel*> by_id_;
  std::uint32_t made_ = 0;
};

}  // namespace drover
