#include "fleet/model_table.h"

#include <gtest/gtest.h>

#include <set>

namespace drover {
namespace {

ModelTarget target(const std::string& key, const std::string& name = "model") {
  ModelTarget target;
  target.key = key;
  target.name = name;
  return target;
}

bool nobody(const ServedModel&) {
  return false;
}

TEST(ModelTable, TheSameWeightsAreOneModelWhateverItsName) {
  ModelTable models;
  const ModelId first = models.of(target("weights", "a"), nobody).id;
  EXPECT_EQ(models.of(target("weights", "b"), nobody).id, first);
  EXPECT_EQ(models.at(first).target.name, "b") << "the latest request says how it is called";
  EXPECT_NE(models.of(target("others"), nobody).id, first);
  EXPECT_EQ(models.find("unheard of"), nullptr);
}

TEST(ModelTable, ModelsThatComeAndGoDoNotMakeItGrow) {
  ModelTable models;
  const ServedModel& used = models.of(target("used"), nobody);
  const auto is_used = [&](const ServedModel& model) { return model.id == used.id; };
  std::set<ModelId> ids;
  for (std::size_t i = 0; i < 3 * ModelTable::kModelsMax; ++i) {
    ids.insert(models.of(target(std::to_string(i)), is_used).id);
    EXPECT_LE(models.size(), ModelTable::kModelsMax);
  }
  EXPECT_EQ(ids.size(), 3 * ModelTable::kModelsMax) << "no number is given twice";
  EXPECT_EQ(models.find("used"), &used);
  EXPECT_EQ(&models.at(used.id), &used);
}

TEST(ModelTable, ThoseInUseStayHoweverManyThereAre) {
  ModelTable models;
  const auto all = [](const ServedModel&) { return true; };
  for (std::size_t i = 0; i < ModelTable::kModelsMax + 10; ++i) models.of(target(std::to_string(i)), all);
  EXPECT_EQ(models.size(), ModelTable::kModelsMax + 10);
}

}  // namespace
}  // namespace drover
