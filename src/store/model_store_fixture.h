// A store in a folder of its own, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "store/gguf_builder.h"
#include "store/model_store.h"
#include "store/temporary_folder.h"

namespace drover {

inline ModelName name_of(std::string_view text) {
  return *ModelName::parse(text);
}

class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    store_ = std::make_unique<ModelStore>(folder_.path());
    const Result<FolderAccess> opened = store_->open();
    ASSERT_TRUE(opened.ok()) << opened.error().message;
  }

  Digest put(std::string_view bytes) { return *store_->blobs().put(bytes); }
  Result<void> create(const CreateSpec& spec) {
    statuses_.clear();
    return store_->create(spec, [this](const CreateStatus& status) { statuses_.push_back(status.status); });
  }
  void import(std::string_view name, std::string_view label = "Tiny") {
    const Result<void> imported = store_->import_gguf(name_of(name), tiny_model(label).build());
    ASSERT_TRUE(imported.ok()) << imported.error().message;
  }
  std::shared_ptr<const Model> find(std::string_view name) {
    Result<std::shared_ptr<const Model>> model = store_->find(name_of(name));
    EXPECT_TRUE(model.ok()) << model.error().message;
    return model.ok() ? *model : nullptr;
  }
  std::string create_error(const CreateSpec& spec) {
    const Result<void> created = create(spec);
    if (created.ok()) return "";
    EXPECT_EQ(created.error().code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(store_->exists(spec.name));
    return created.error().message;
  }
  std::size_t count_blobs() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder_.path() / "blobs"), {}));
  }
  // Writes a manifest as somebody else might have.
  void write_manifest(const std::string& place, const std::string& text) { folder_.write("manifests/" + place, text); }

  TemporaryFolder folder_;
  std::unique_ptr<ModelStore> store_;
  std::vector<std::string> statuses_;
};

}  // namespace drover
