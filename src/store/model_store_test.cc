#include "store/model_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "store/gguf_builder.h"
#include "store/temporary_folder.h"

namespace drover {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ModelName name_of(std::string_view text) {
  return *ModelName::parse(text);
}

class ModelStoreTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  void open() {
    Result<std::unique_ptr<ModelStore>> store = ModelStore::open(folder_.path());
    ASSERT_TRUE(store.ok()) << store.error().message;
    store_ = std::move(*store);
  }

  Digest put(std::string_view bytes) { return *store_->blobs().put(bytes); }
  Result<void> create(const CreateSpec& spec) {
    statuses_.clear();
    return store_->create(spec, [this](const std::string& status) { statuses_.push_back(status); });
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
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_.path() / "blobs"), {}));
  }
  // Writes a manifest as somebody else might have.
  void write_manifest(const std::string& place, const std::string& text) { folder_.write("manifests/" + place, text); }

  TemporaryFolder folder_;
  std::unique_ptr<ModelStore> store_;
  std::vector<std::string> statuses_;
};

// ---- blobs

TEST_F(ModelStoreTest, ABlobMustBeWhatItIsSaidToBe) {
  BlobWriter writer = *store_->blobs().create();
  ASSERT_TRUE(writer.write("ab").ok());
  ASSERT_TRUE(writer.write("c").ok());
  EXPECT_EQ(writer.bytes_written(), 3u);
  const Result<Digest> refused = writer.finish(Digest::of("x"));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "digest mismatch, expected \"" + Digest::of("x").to_string() + "\", got \"" +
                                         Digest::of("abc").to_string() + "\"");
  EXPECT_FALSE(store_->blobs().has(Digest::of("x")));
  EXPECT_FALSE(store_->blobs().has(Digest::of("abc")));
}

TEST_F(ModelStoreTest, ABlobAppearsWholeOrNotAtAll) {
  {
    BlobWriter writer = *store_->blobs().create();
    ASSERT_TRUE(writer.write("abc").ok());
    EXPECT_FALSE(store_->blobs().has(Digest::of("abc")));
    EXPECT_EQ(count_blobs(), 1u);
  }
  EXPECT_EQ(count_blobs(), 0u);
  BlobWriter writer = *store_->blobs().create();
  ASSERT_TRUE(writer.write("abc").ok());
  EXPECT_EQ(*writer.finish(Digest::of("abc")), Digest::of("abc"));
  EXPECT_EQ(folder_.read("blobs/" + Digest::of("abc").file_name()), "abc");
  EXPECT_EQ(*store_->blobs().read(Digest::of("abc"), 3), "abc");
  EXPECT_EQ(store_->blobs().read(Digest::of("abc"), 2).error().code, ErrorCode::kTooLarge);
  EXPECT_EQ(store_->blobs().size(Digest::of("x")).error().message,
            "blob \"" + Digest::of("x").to_string() + "\" not found");
}

TEST_F(ModelStoreTest, ABlobThatWasCutShortIsReplaced) {
  folder_.write("blobs/" + Digest::of("abc").file_name(), "a");
  EXPECT_EQ(put("abc"), Digest::of("abc"));
  EXPECT_EQ(folder_.read("blobs/" + Digest::of("abc").file_name()), "abc");
}

TEST_F(ModelStoreTest, AFolderThatVanishesIsMadeAgain) {
  fs::remove_all(folder_.path() / "blobs");
  fs::remove_all(folder_.path() / "manifests");
  import("a");
  EXPECT_NE(find("a"), nullptr);
}

TEST_F(ModelStoreTest, ABlobIsNeverALink) {
  const fs::path secret = folder_.write("secret", "abc");
  fs::create_symlink(secret, folder_.path() / "blobs" / Digest::of("abc").file_name());
  EXPECT_FALSE(store_->blobs().has(Digest::of("abc")));
  EXPECT_FALSE(store_->blobs().read(Digest::of("abc"), 100).ok());
  put("abc");
  EXPECT_TRUE(store_->blobs().has(Digest::of("abc")));
  EXPECT_EQ(folder_.read("secret"), "abc");
}

TEST_F(ModelStoreTest, DeadWritersLeaveNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    Result<BlobWriter> writer = store_->blobs().create();
    (void)writer->write("half a model");
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(count_blobs(), 1u);
  const BlobWriter alive = *store_->blobs().create();
  open();
  EXPECT_EQ(count_blobs(), 1u) << "the dead writer's file goes, the living one's stays";
}

TEST_F(ModelStoreTest, AFullDiskIsSaidToBeFull) {
  // Reports what a full disk would through the same path: errno to Error.
  const Error error = file_error("write", "/models/blobs/x", ENOSPC);
  EXPECT_EQ(error.code, ErrorCode::kNoSpace);
  EXPECT_EQ(error.message, "cannot write /models/blobs/x: No space left on device");
}

// ---- create

TEST_F(ModelStoreTest, CreateRefusesWhatMakesNoModel) {
  const std::string good = put(tiny_model().build()).to_string();
  CreateSpec spec(name_of("m"));
  EXPECT_EQ(create_error(spec), "neither 'from' or 'files' was specified");
  for (const char* path : {"/etc/passwd", "../x.gguf", "a/../../x", "", "a//b", ".", "a\\b", "C:x"}) {
    spec.files = {{path, good}};
    EXPECT_EQ(create_error(spec), "file path must be relative") << path;
  }
  spec.files = {{"m.gguf", "sha256:../../etc/passwd"}};
  EXPECT_EQ(create_error(spec), "invalid digest format");
  spec.files = {{"m.gguf", Digest::of("nothing").to_string()}};
  EXPECT_TRUE(create_error(spec).starts_with("blob not found for m.gguf"));
  spec.files = {{"m.gguf", put("{}").to_string()}};
  EXPECT_EQ(create_error(spec), "supplied file was not in GGUF format");
  spec.files = {{"m.gguf", put(tiny_model().build().substr(0, 2000)).to_string()}};
  EXPECT_TRUE(create_error(spec).starts_with("GGUF file is cut short"));
  spec.files = {{"m.gguf", put(GgufBuilder().text("general.architecture", "llama").build()).to_string()}};
  EXPECT_EQ(create_error(spec), "m.gguf has no weights");
  spec.files = {{"a.gguf", put(GgufBuilder().text("general.type", "adapter").build()).to_string()}};
  EXPECT_NE(create_error(spec).find("only adapters"), std::string::npos);
  spec.files = {{"a.gguf", good}, {"b.gguf", good}};
  EXPECT_NE(create_error(spec).find("several models"), std::string::npos);

  spec.files = {{"m.gguf", good}};
  spec.adapters = {{"a", good}, {"b", good}};
  EXPECT_EQ(create_error(spec), "only one adapter is currently supported");
  spec.adapters = {{"a", good}};
  EXPECT_EQ(create_error(spec), "a is not an adapter");
  spec.adapters.clear();
  spec.parameters = {{"num_ctx", "big"}};
  EXPECT_EQ(create_error(spec), "option \"num_ctx\" must be of type integer");
  spec.parameters = nullptr;
  spec.messages = {{{"content", "x"}}};
  EXPECT_EQ(create_error(spec), "a message must have a role");
  spec.messages = nullptr;
  spec.quantize = "q4_0";
  EXPECT_NE(create_error(spec).find("quantize"), std::string::npos);
  spec.quantize.clear();
  EXPECT_EQ(create_error(CreateSpec(spec)), "");
  EXPECT_TRUE(store_->exists(name_of("m")));

  CreateSpec missing(name_of("n"));
  missing.from = name_of("missing");
  EXPECT_EQ(create(missing).error().code, ErrorCode::kNotFound);
}

TEST_F(ModelStoreTest, CreatesFromAFile) {
  const std::string bytes = tiny_model().build();
  CreateSpec spec(name_of("ana/Mine:1"));
  spec.files = {{"tiny.gguf", put(bytes).to_string()}};
  spec.system = "Be brief.";
  spec.parameters = {{"temperature", 0}, {"stop", {"<|im_end|>"}}};
  spec.messages = {{{"role", "user"}, {"content", "hi"}}};
  spec.licenses = {"MIT", "Apache"};
  ASSERT_TRUE(create(spec).ok());

  ASSERT_EQ(statuses_.size(), 9u);
  EXPECT_EQ(statuses_[0], "parsing GGUF");
  EXPECT_EQ(statuses_[1], "using existing layer " + Digest::of(bytes).to_string());
  EXPECT_EQ(statuses_[2], "creating new layer " + Digest::of("Be brief.").to_string());
  EXPECT_EQ(statuses_[7], "writing manifest");
  EXPECT_EQ(statuses_[8], "success");

  const std::string manifest = folder_.read("manifests/registry.ollama.ai/ana/Mine/1");
  const auto model = find("ana/mine:1");
  ASSERT_NE(model, nullptr);
  EXPECT_EQ(model->name.display_shortest(), "ana/Mine:1");
  EXPECT_EQ(model->digest, Digest::of(manifest));
  EXPECT_EQ(model->model_path, folder_.path() / "blobs" / Digest::of(bytes).file_name());
  EXPECT_EQ(model->system, "Be brief.");
  EXPECT_EQ(model->parameters.dump(), R"({"temperature":0.0,"stop":["<|im_end|>"]})");
  EXPECT_EQ(model->messages.dump(), R"([{"role":"user","content":"hi"}])");
  EXPECT_EQ(model->licenses, (std::vector<std::string>{"MIT", "Apache"}));
  EXPECT_FALSE(model->template_text.has_value());
  EXPECT_EQ(model->config.format, "gguf");
  EXPECT_EQ(model->config.family, "llama");
  EXPECT_EQ(model->config.families, std::vector<std::string>{"llama"});
  EXPECT_EQ(model->config.parameter_size, "2K");
  EXPECT_EQ(model->config.quantization, "F16");
  EXPECT_EQ(model->config.json.at("architecture"), "amd64");
  EXPECT_EQ(model->config.json.at("rootfs").at("diff_ids").size(), 6u);
  EXPECT_GT(model->size, bytes.size());
  EXPECT_TRUE(model->can(Capability::kCompletion));
  EXPECT_TRUE(model->can(Capability::kTools));
  EXPECT_TRUE(model->can(Capability::kThinking));
  EXPECT_TRUE(model->can(Capability::kInsert));
  EXPECT_FALSE(model->can(Capability::kVision));
  struct stat status {};
  ASSERT_EQ(::stat(model->model_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST_F(ModelStoreTest, CreatesFromAnotherModel) {
  import("base");
  CreateSpec first(name_of("first"));
  first.from = name_of("base");
  first.system = "one";
  first.template_text = "{{ .Prompt }}";
  first.parameters = {{"temperature", 0.5}, {"top_k", 3}};
  first.licenses = {"MIT"};
  ASSERT_TRUE(create(first).ok());
  CreateSpec second(name_of("second"));
  second.from = name_of("FIRST");
  second.system = "two";
  second.parameters = {{"temperature", 1.5}};
  second.licenses = {"more"};
  second.requires_version = "0.14.0";
  ASSERT_TRUE(create(second).ok());

  const auto model = find("second");
  EXPECT_EQ(model->system, "two");
  EXPECT_EQ(model->template_text, "{{ .Prompt }}");
  EXPECT_EQ(model->parameters.dump(), R"({"temperature":1.5,"top_k":3})");
  EXPECT_EQ(model->licenses, (std::vector<std::string>{"MIT", "more"}));
  EXPECT_EQ(model->config.requires_version, "0.14.0");
  EXPECT_EQ(model->parent_model, "FIRST:latest");
  EXPECT_EQ(model->model_path, find("base")->model_path);
  EXPECT_EQ(model->gguf, find("base")->gguf) << "one file is read once";

  // A model made again from itself keeps its weights.
  CreateSpec again(name_of("second"));
  again.from = name_of("second");
  again.system = "three";
  ASSERT_TRUE(create(again).ok());
  EXPECT_EQ(find("second")->system, "three");
  EXPECT_FALSE(store_->blobs().has(Digest::of("two")));
  EXPECT_TRUE(store_->blobs().has(Digest::of("one")));
}

TEST_F(ModelStoreTest, TakesAnAdapter) {
  import("base");
  CreateSpec spec(name_of("tuned"));
  spec.from = name_of("base");
  spec.adapters = {{"lora.gguf", put(GgufBuilder().text("general.type", "adapter").build()).to_string()}};
  ASSERT_TRUE(create(spec).ok());
  EXPECT_EQ(find("tuned")->adapter_paths.size(), 1u);
}

TEST_F(ModelStoreTest, ImportsOnce) {
  import("cria");
  const auto model = find("cria");
  import("cria");
  EXPECT_EQ(find("cria"), model);
  import("cria", "Another");
  EXPECT_NE(find("cria")->model_digest, model->model_digest);
  EXPECT_FALSE(store_->blobs().has(model->model_digest));
}

TEST_F(ModelStoreTest, ShowsAModelfile) {
  CreateSpec spec(name_of("m"));
  spec.files = {{"m.gguf", put(tiny_model().build()).to_string()}};
  spec.template_text = "{{ .Prompt }}\n";
  spec.parameters = {{"stop", {"<a>", "b\n"}}, {"num_ctx", 4096}, {"temperature", 0.7}, {"top_p", 1}};
  spec.messages = {{{"role", "user"}, {"content", "hi"}}};
  ASSERT_TRUE(create(spec).ok());
  const auto model = find("m");
  EXPECT_EQ(show_modelfile(*model),
            "# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, replace FROM with:\n"
            "# FROM m:latest\n\nFROM " +
                model->model_path.string() +
                "\nTEMPLATE \"{{ .Prompt }}\n\"\nPARAMETER stop <a>\nPARAMETER stop \"b\n\"\nPARAMETER num_ctx 4096\n"
                "PARAMETER temperature 0.7\nPARAMETER top_p 1\nMESSAGE user hi\n");
  EXPECT_EQ(
      show_parameters(*model),
      "stop                           \"<a>\"\nstop                           \"b\\n\"\n"
      "num_ctx                        4096\ntemperature                    0.7\ntop_p                          1");
  EXPECT_EQ(show_tensors(*model->gguf)[1].dump(), R"({"name":"output_norm.weight","type":"F32","shape":[64]})");
}

// ---- find, list, copy, remove

TEST_F(ModelStoreTest, FindsWithoutRegardToCase) {
  import("Ana/Cria:V1");
  EXPECT_EQ(find("ana/cria:v1"), find("ANA/CRIA:V1"));
  EXPECT_EQ(store_->find(name_of("ana/cria")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(store_->find(name_of("cria:v1")).error().code, ErrorCode::kNotFound);
  // A new tag goes to the folder that is there; the same name in other case replaces the model.
  import("ana/CRIA:v2");
  EXPECT_TRUE(fs::exists(folder_.path() / "manifests/registry.ollama.ai/Ana/Cria/v2"));
  import("ana/cria:v1", "Another");
  EXPECT_EQ(store_->list().size(), 2u);
}

TEST_F(ModelStoreTest, SeesWhatOthersChange) {
  import("a");
  const auto before = find("a");
  EXPECT_EQ(find("a"), before) << "nothing is read again while nothing changes";
  import("b", "Another");
  fs::copy_file(folder_.path() / "manifests/registry.ollama.ai/library/b/latest",
                folder_.path() / "manifests/registry.ollama.ai/library/a/latest", fs::copy_options::overwrite_existing);
  EXPECT_EQ(find("a")->digest, find("b")->digest);
  fs::remove_all(folder_.path() / "manifests/registry.ollama.ai/library/a");
  EXPECT_EQ(store_->find(name_of("a")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(before->gguf->name(), "Tiny") << "who holds a model keeps it";
}

TEST_F(ModelStoreTest, ListsTheNewestFirst) {
  EXPECT_TRUE(store_->list().empty());
  import("old");
  import("new");
  const auto hour_ago = fs::file_time_type::clock::now() - std::chrono::hours(1);
  fs::last_write_time(folder_.path() / "manifests/registry.ollama.ai/library/old/latest", hour_ago);
  const auto models = store_->list();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0]->name.display_shortest(), "new:latest");
  EXPECT_EQ(models[1]->name.display_shortest(), "old:latest");
  EXPECT_LT(models[1]->modified_at, models[0]->modified_at - std::chrono::minutes(59));
}

TEST_F(ModelStoreTest, CopiesAndRemoves) {
  import("a");
  EXPECT_EQ(store_->copy(name_of("x"), name_of("y")).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(store_->copy(name_of("a"), name_of("ana/b:1")).ok());
  ASSERT_TRUE(store_->copy(name_of("a"), name_of("A")).ok());
  EXPECT_EQ(find("ana/b:1")->digest, find("a")->digest);
  const Digest weights = find("a")->model_digest;

  EXPECT_EQ(store_->remove(name_of("x")).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(store_->remove(name_of("A")).ok());
  EXPECT_FALSE(store_->exists(name_of("a")));
  EXPECT_EQ(store_->find(name_of("a")).error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(fs::exists(folder_.path() / "manifests/registry.ollama.ai/library"));
  EXPECT_TRUE(store_->blobs().has(weights));
  ASSERT_NE(find("ana/b:1"), nullptr);
  ASSERT_TRUE(store_->remove(name_of("ana/b:1")).ok());
  EXPECT_EQ(count_blobs(), 0u);
  EXPECT_TRUE(fs::is_directory(folder_.path() / "manifests"));
}

TEST_F(ModelStoreTest, PrunesWhatNothingRefersTo) {
  import("a");
  const Digest orphan = put("orphan");
  EXPECT_EQ(*store_->prune(), 0u) << "it is too young";
  EXPECT_EQ(*store_->prune(std::chrono::seconds(0)), 1u);
  EXPECT_FALSE(store_->blobs().has(orphan));
  EXPECT_NE(find("a"), nullptr);
}

// ---- what strangers leave

TEST_F(ModelStoreTest, ABrokenModelIsBrokenAlone) {
  import("good");
  const std::string good = folder_.read("manifests/registry.ollama.ai/library/good/latest");
  const std::string library = "registry.ollama.ai/library/";
  const std::string secret = folder_.write("secret", "{}").string();
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  const std::string weights = find("good")->model_digest.to_string();
  write_manifest(library + "json/latest", "{");
  write_manifest(library + "empty/latest", "");
  write_manifest(library + "path/latest", with(weights, "sha256:../../secret"));
  write_manifest(library + "gone/latest", with(weights, Digest::of("gone").to_string()));
  write_manifest(library + "size/latest", with("\"size\":", "\"size\":9"));
  write_manifest(library + "big/latest", std::string(kManifestBytesMax + 1, ' '));
  write_manifest(library + "bare/latest", with("image.model", "image.other"));
  write_manifest(library + "deep/latest", std::string(1 << 20, '['));
  write_manifest(library + "list/latest", R"({"schemaVersion":2,"manifests":[]})");
  fs::create_directories(folder_.path() / "manifests" / library / "link");
  fs::create_symlink(secret, folder_.path() / "manifests" / library / "link/latest");
  write_manifest(library + "bad name/latest", good);
  write_manifest("stray", good);

  const auto models = store_->list();
  ASSERT_EQ(models.size(), 1u);
  for (const char* name : {"json", "empty", "path", "gone", "size", "big", "bare", "deep", "list", "link"}) {
    const auto found = store_->find(name_of(name));
    ASSERT_FALSE(found.ok()) << name;
    EXPECT_NE(found.error().code, ErrorCode::kNotFound) << name;
    EXPECT_FALSE(found.error().message.empty()) << name;
    EXPECT_TRUE(store_->remove(name_of(name)).ok()) << name;
  }
  EXPECT_EQ(folder_.read("secret"), "{}");
  ASSERT_EQ(store_->list().size(), 1u);
  EXPECT_NE(find("good"), nullptr);
}

TEST_F(ModelStoreTest, ABrokenLayerIsToldOf) {
  const std::string weights = put(tiny_model().build()).to_string();
  const auto error_with = [&](std::string_view media_type, const std::string& text) {
    const Digest digest = put(text);
    const std::string config = "{}";
    Manifest manifest;
    manifest.config = {std::string(kConfigMediaType), put(config), config.size(), "", ""};
    manifest.layers = {
        {std::string(kModelMediaType), *Digest::parse(weights), *store_->blobs().size(*Digest::parse(weights)), "", ""},
        {std::string(media_type), digest, text.size(), "", ""}};
    write_manifest("registry.ollama.ai/library/m/latest", manifest.to_json());
    const auto found = store_->find(name_of("m"));
    return found.ok() ? "" : found.error().message;
  };
  EXPECT_EQ(error_with(kParamsMediaType, R"({"stop":["a"]})"), "");
  EXPECT_NE(error_with(kParamsMediaType, R"({"stop":1})"), "");
  EXPECT_NE(error_with(kParamsMediaType, "[]"), "");
  EXPECT_NE(error_with(kParamsMediaType, "{"), "");
  EXPECT_NE(error_with(kMessagesMediaType, R"([{"role":1}])"), "");
  EXPECT_NE(error_with(kMessagesMediaType, R"([{"role":"user","content":[]}])"), "");
  EXPECT_NE(error_with(kMessagesMediaType, std::string(100'000, '[')), "");
  EXPECT_NE(error_with(kProjectorMediaType, "no GGUF"), "");
  EXPECT_NE(error_with(kModelMediaType, "x"), "");
  EXPECT_EQ(error_with("application/vnd.stranger", "x"), "");
  EXPECT_EQ(error_with(kSystemMediaType, "not \xFF UTF-8"), "");
  EXPECT_EQ(find("m")->system, "not \xEF\xBF\xBD UTF-8");
}

TEST_F(ModelStoreTest, LinkedFoldersAreNotFollowed) {
  TemporaryFolder outside;
  outside.write("m/latest", "{}");
  fs::create_directories(folder_.path() / "manifests/registry.ollama.ai");
  fs::create_directory_symlink(outside.path(), folder_.path() / "manifests/registry.ollama.ai/library");
  EXPECT_TRUE(store_->list().empty());
  EXPECT_FALSE(store_->exists(name_of("m")));
  EXPECT_FALSE(store_->import_gguf(name_of("n"), tiny_model().build()).ok());
  EXPECT_EQ(store_->remove(name_of("m")).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(outside.read("m/latest"), "{}");
  EXPECT_FALSE(fs::exists(outside.path() / "n"));
}

// Newer versions of Ollama keep manifests as blobs and link to them from manifests-v2.
TEST_F(ModelStoreTest, ReadsTheLinksOfNewerVersions) {
  import("a");
  const std::string text = folder_.read("manifests/registry.ollama.ai/library/a/latest");
  ASSERT_TRUE(store_->copy(name_of("a"), name_of("old")).ok());
  const Digest blob = put(text);
  const fs::path place = folder_.path() / "manifests-v2/ollama.com/library/linked";
  fs::create_directories(place);
  fs::create_symlink("../../../../blobs/" + blob.file_name(), place / "latest");
  ASSERT_NE(find("linked"), nullptr);
  EXPECT_EQ(find("linked")->name.full(), "registry.ollama.ai/library/linked:latest");
  EXPECT_EQ(store_->list().size(), 3u);

  // What a link refers to is kept, and a new model of the name replaces the link.
  ASSERT_TRUE(store_->remove(name_of("a")).ok());
  ASSERT_TRUE(store_->remove(name_of("old")).ok());
  ASSERT_NE(find("linked"), nullptr);
  EXPECT_EQ(*store_->prune(std::chrono::seconds(0)), 0u);
  CreateSpec spec(name_of("linked"));
  spec.from = name_of("linked");
  spec.system = "new";
  ASSERT_TRUE(create(spec).ok());
  EXPECT_EQ(find("linked")->system, "new");
  EXPECT_FALSE(fs::exists(fs::symlink_status(place / "latest")));
  EXPECT_FALSE(store_->blobs().has(blob));
  ASSERT_TRUE(store_->remove(name_of("linked")).ok());
  EXPECT_EQ(count_blobs(), 0u);
}

// ---- many at once

TEST_F(ModelStoreTest, ReadersAndWritersDoNotDisturbEachOther) {
  import("base");
  std::atomic<bool> stop = false;
  std::atomic<int> found = 0;
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 3; ++writer) {
    threads.emplace_back([&, writer] {
      for (int i = 0; i < 40; ++i) {
        CreateSpec spec(name_of("shared"));
        spec.from = name_of("base");
        spec.system = "system " + std::to_string((i + writer) % 3);
        const Result<void> created = store_->create(spec, nullptr);
        EXPECT_TRUE(created.ok()) << created.error().message;
        if (i % 4 == writer) (void)store_->remove(name_of("shared"));
      }
    });
  }
  for (int reader = 0; reader < 2; ++reader) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto model = store_->find(name_of("shared"));
        if (model.ok()) {
          ++found;
          EXPECT_TRUE((*model)->system.starts_with("system "));
        } else {
          EXPECT_EQ(model.error().code, ErrorCode::kNotFound) << model.error().message;
        }
        EXPECT_GE(store_->list().size(), 1u);
      }
    });
  }
  for (int writer = 0; writer < 3; ++writer) threads[static_cast<std::size_t>(writer)].join();
  stop = true;
  for (std::size_t reader = 3; reader < threads.size(); ++reader) threads[reader].join();
  EXPECT_GT(found, 0);
  EXPECT_NE(find("base"), nullptr);
}

// Whenever a process is killed, the store holds whole models only.
TEST_F(ModelStoreTest, AKillLeavesNoHalfModel) {
  import("base");
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i) {
        CreateSpec spec(name_of("victim"));
        spec.from = name_of("base");
        spec.system = "system " + std::to_string(i % 5);
        (void)store_->create(spec, nullptr);
        if (i % 3 == 0) (void)store_->remove(name_of("victim"));
      }
    }
    ::usleep(static_cast<useconds_t>(500 + round * 700));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    open();
    const auto victim = store_->find(name_of("victim"));
    EXPECT_TRUE(victim.ok() || victim.error().code == ErrorCode::kNotFound) << victim.error().message;
    EXPECT_NE(find("base"), nullptr);
    for (const auto& entry : fs::directory_iterator(folder_.path() / "blobs")) {
      const Result<Digest> digest = Digest::parse(entry.path().filename().string());
      ASSERT_TRUE(digest.ok()) << entry.path();
      EXPECT_EQ(Digest::of(*store_->blobs().read(*digest, 1 << 30)), *digest);
    }
  }
}

// A file size limit fails writes in the middle as a full disk does: an error, and nothing of the model stays.
TEST_F(ModelStoreTest, AFailedWriteLeavesNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Result<void> imported = store_->import_gguf(name_of("m"), tiny_model().build());
    ::_exit(!imported.ok() && imported.error().message.starts_with("cannot write ") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(count_blobs(), 0u);
  EXPECT_TRUE(store_->list().empty());
}

}  // namespace
}  // namespace drover
