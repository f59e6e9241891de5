// ModelStore::create: makes a model from another one or from GGUF blobs.
#include <fmt/core.h>

#include <algorithm>

#include "store/gguf_check.h"
#include "store/gguf_types.h"
#include "store/model_store.h"
#include "store/parameters.h"
#include "store/untrusted_text.h"

namespace drover {
namespace {

using nlohmann::ordered_json;

// The first version of Ollama that reads a manifest with a model in several files.
constexpr std::string_view kSplitsRequire = "0.35.0";
// What stands for the file that is being made in the progress of quantizing: Ollama's clients show a bar by it.
constexpr std::string_view kQuantizeDigest = "0000000000000000000";

// A file name of a request: relative, and without a way up.
bool is_relative_path(std::string_view path) {
  if (path.empty() || path.find_first_of("\\:") != std::string_view::npos) return false;
  while (true) {
    const std::size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

}  // namespace

// One call of ModelStore::create, from what is asked for to the manifest.
class ModelCreation {
 public:
  ModelCreation(ModelStore& store, const CreateSpec& spec, const StatusCallback& status, const Quantizer& quantizer)
      : store_(store), spec_(spec), status_(status), quantizer_(quantizer), pins_(store.pins_) {}

  Result<void> run() {
    using Step = Result<void> (ModelCreation::*)();
    for (const Step step : {&ModelCreation::check, &ModelCreation::take_base, &ModelCreation::take_adapters,
                            &ModelCreation::quantize, &ModelCreation::apply_texts, &ModelCreation::apply_parameters,
                            &ModelCreation::apply_messages, &ModelCreation::write}) {
      if (Result<void> done = (this->*step)(); !done) return done;
    }
    return {};
  }

 private:
  void report(std::string text) {
    if (status_) status_({std::move(text), "", 0, 0});
  }

  Result<void> check() {
    if (!spec_.from && spec_.files.empty()) return invalid("neither 'from' or 'files' was specified");
    if (spec_.adapters.size() > 1) return invalid("only one adapter is currently supported");
    if (spec_.files.size() > kCreateFilesMax) {
      return invalid(fmt::format("too many files: {} exceeds maximum {}", spec_.files.size(), kCreateFilesMax));
    }
    if (!spec_.quantize.empty() && !find_quantization(spec_.quantize)) {
      return invalid(fmt::format("unsupported quantization type {} - supported types are {}", spec_.quantize,
                                 quantization_names()));
    }
    for (const auto* files : {&spec_.files, &spec_.adapters}) {
      for (const auto& [path, digest] : *files) {
        if (!is_relative_path(path)) return invalid("file path must be relative");
      }
    }
    for (const auto* text : {&spec_.template_text, &spec_.system}) {
      if (*text && (*text)->size() > kTextLayerBytesMax) return too_large();
    }
    for (const std::string& license : spec_.licenses) {
      if (license.size() > kTextLayerBytesMax) return too_large();
    }
    return {};
  }

  static Error too_large() {
    return {ErrorCode::kTooLarge, fmt::format("a part of the model has more than {} bytes", kTextLayerBytesMax)};
  }

  Result<void> take_base() {
    if (Result<void> taken = spec_.from ? take_model() : take_files(); !taken) return taken;
    if (!spec_.renderer.empty()) config_.renderer = spec_.renderer;
    if (!spec_.parser.empty()) config_.parser = spec_.parser;
    if (!spec_.requires_version.empty()) config_.requires_version = spec_.requires_version;
    return {};
  }

  Result<void> take_model() {
    const Result<std::string> text = store_.read_and_pin_manifest(*spec_.from, pins_);
    if (!text) return text.error();
    const std::string name = spec_.from->display_shortest();
    Result<Manifest> manifest = Manifest::parse(*text);
    if (!manifest) return invalid(fmt::format("model '{}' is broken: {}", name, manifest.error().message));
    for (Layer& layer : manifest->layers) {
      const Result<std::uint64_t> size = store_.blobs_.size(layer.digest);
      if (!size) return invalid(fmt::format("model '{}' is broken: {}", name, size.error().message));
      add_existing({layer.media_type, layer.digest, *size, name, layer.name});
    }
    const Result<std::string> config = store_.blobs_.read(manifest->config.digest, kTextLayerBytesMax);
    if (!config) return invalid(fmt::format("model '{}' is broken: {}", name, config.error().message));
    Result<ModelConfig> parsed = ModelConfig::parse(*config);
    if (!parsed) return invalid(fmt::format("model '{}' is broken: {}", name, parsed.error().message));
    config_ = std::move(*parsed);
    return {};
  }

  Result<void> take_files() {
    std::vector<std::pair<std::string, std::string>> files = spec_.files;
    std::sort(files.begin(), files.end());
    std::vector<std::shared_ptr<const Gguf>> parts;
    std::vector<Layer> part_layers;
    for (const auto& [path, digest] : files) {
      const Result<std::shared_ptr<const Gguf>> gguf = take_gguf(path, digest);
      if (!gguf) return gguf.error();
      if (layers_.back().media_type != kModelMediaType) continue;
      // The files of a split model may be called anything; they stand in the order that they tell themselves.
      const auto at =
          std::upper_bound(parts.begin(), parts.end(), (*gguf)->split_number(),
                           [](std::uint64_t number, const auto& part) { return number < part->split_number(); });
      part_layers.insert(part_layers.begin() + (at - parts.begin()), std::move(layers_.back()));
      layers_.pop_back();
      parts.insert(at, *gguf);
    }
    layers_.insert(layers_.begin(), part_layers.begin(), part_layers.end());
    if (parts.empty()) return invalid("no model among the files, only adapters or projectors");
    if (parts.front()->split_count() == 1 && parts.size() > 1) {
      return invalid("several models were given; a model is created from one");
    }
    const Result<Gguf> whole = Gguf::join(parts);
    if (!whole) return whole.error();
    if (whole->tensors().empty()) return invalid(fmt::format("{} has no weights", files.front().first));
    if (Result<void> checked = check_model(*whole); !checked) return checked;
    describe(*whole);
    if (parts.size() > 1) config_.requires_version = kSplitsRequire;
    return {};
  }

  Result<void> take_adapters() {
    for (const auto& [path, digest] : spec_.adapters) {
      const Result<std::shared_ptr<const Gguf>> gguf = take_gguf(path, digest);
      if (!gguf) return gguf.error();
      if (!(*gguf)->is_adapter()) return invalid(fmt::format("{} is not an adapter", path));
      if (Result<void> checked = check_adapter(**gguf); !checked) return checked;
      const std::string architecture = (*gguf)->architecture();
      if (!architecture.empty() && architecture != config_.family) {
        return invalid(
            fmt::format("{} is an adapter for {} models, and this is a {} model", path, architecture, config_.family));
      }
      const Layer adapter = std::move(layers_.back());
      layers_.pop_back();
      drop_layers(kAdapterMediaType);
      layers_.push_back(adapter);
    }
    return {};
  }

  // Adds the layer for one GGUF blob, of the kind that the file says it is.
  Result<std::shared_ptr<const Gguf>> take_gguf(const std::string& path, const std::string& digest_text) {
    report("parsing GGUF");
    const Result<Digest> digest = Digest::parse(digest_text);
    if (!digest) return digest.error();
    pins_.pin(*digest);
    const Result<std::uint64_t> size = store_.blobs_.size(*digest);
    if (!size) return invalid(fmt::format("blob not found for {} (digest {})", path, digest->to_string()));
    Result<std::shared_ptr<const Gguf>> gguf = store_.loader_.read_gguf(*digest);
    if (!gguf) return gguf;
    std::string_view media_type = kModelMediaType;
    if ((*gguf)->is_adapter()) media_type = kAdapterMediaType;
    if ((*gguf)->is_projector()) media_type = kProjectorMediaType;
    add_existing({std::string(media_type), *digest, *size, "", ""});
    return gguf;
  }

  void describe(const Gguf& gguf) {
    config_.format = "gguf";
    config_.family = gguf.architecture();
    config_.families = {gguf.architecture()};
    config_.parameter_size = gguf.parameter_size();
    config_.quantization = gguf.quantization();
  }

  // Puts a quantized copy in the place of the model's file.
  Result<void> quantize() {
    if (spec_.quantize.empty()) return {};
    const std::string have = config_.quantization;
    if (have != "F16" && have != "BF16" && have != "F32") {
      return invalid("quantization is only supported for F16, BF16 and F32 models");
    }
    QuantizeWork work;
    work.file_type = *find_quantization(spec_.quantize);
    const std::string wanted(gguf_file_type_name(work.file_type));
    if (have == wanted) return {};
    if (!quantizer_) return invalid("this server cannot quantize");
    CreateStatus status{fmt::format("quantizing {} model to {}", have, wanted), std::string(kQuantizeDigest), 0, 0};
    for (const Layer& layer : layers_) {
      if (layer.media_type != kModelMediaType) continue;
      work.sources.push_back(store_.blobs_.path(layer.digest));
      status.total += layer.size;
    }
    Result<BlobWriter> writer = store_.blobs_.create();
    if (!writer) return std::move(writer).error();
    work.target = writer->file();
    if (status_) status_(status);
    const auto progress = [&](double fraction) {
      status.completed = static_cast<std::uint64_t>(static_cast<double>(status.total) * fraction);
      if (status_) status_(status);
    };
    if (Result<void> done = quantizer_(work, progress); !done) return done;
    progress(1);
    return take_quantized(*writer);
  }

  Result<void> take_quantized(BlobWriter& writer) {
    if (Result<void> taken = writer.take_in(); !taken) return taken;
    const Result<Digest> digest = writer.finish();
    if (!digest) return digest.error();
    pins_.pin(*digest);
    // A model that is deleted just now may have had the same file.
    const Result<std::uint64_t> size = store_.blobs_.size(*digest);
    if (!size) return internal(size.error().message);
    const Result<std::shared_ptr<const Gguf>> gguf = store_.loader_.read_gguf(*digest);
    if (!gguf) return internal(gguf.error().message);
    if (gguf->get()->tensors().empty()) return internal("the quantized model has no weights");
    const auto is_model = [](const Layer& layer) { return layer.media_type == kModelMediaType; };
    const auto first = std::find_if(layers_.begin(), layers_.end(), is_model);
    *first = {std::string(kModelMediaType), *digest, *size, first->from, ""};
    layers_.erase(std::remove_if(first + 1, layers_.end(), is_model), layers_.end());
    new_.insert(*digest);
    if (config_.requires_version == kSplitsRequire) config_.requires_version.clear();
    describe(**gguf);
    return {};
  }

  Result<void> apply_texts() {
    if (spec_.template_text && !spec_.template_text->empty()) {
      drop_layers(kPromptMediaType);
      drop_layers(kTemplateMediaType);
      if (Result<void> added = add_text(kTemplateMediaType, *spec_.template_text); !added) return added;
    }
    if (spec_.system && !spec_.system->empty()) {
      drop_layers(kSystemMediaType);
      if (Result<void> added = add_text(kSystemMediaType, *spec_.system); !added) return added;
    }
    for (const std::string& license : spec_.licenses) {
      if (Result<void> added = add_text(kLicenseMediaType, license); !added) return added;
    }
    return {};
  }

  // Given parameters replace inherited ones one by one.
  Result<void> apply_parameters() {
    const Result<ordered_json> given = check_options(spec_.parameters);
    if (!given) return given.error();
    if (Result<void> checked = check_ranges(*given); !checked) return checked;
    if (given->empty()) return {};
    ordered_json merged = ordered_json::object();
    for (const Layer& layer : layers_) {
      if (layer.media_type != kParamsMediaType) continue;
      const Result<std::string> text = store_.blobs_.read(layer.digest, kTextLayerBytesMax);
      if (!text) return text.error();
      const Result<ordered_json> json = parse_untrusted_json(*text, "params");
      if (!json) return json.error();
      if (json->is_object()) merged.update(*json);
    }
    merged.update(*given);
    drop_layers(kParamsMediaType);
    return add_text(kParamsMediaType, to_text(merged) + "\n");
  }

  Result<void> apply_messages() {
    const Result<ordered_json> messages = check_messages(spec_.messages);
    if (!messages) return messages.error();
    if (messages->empty()) return {};
    drop_layers(kMessagesMediaType);
    return add_text(kMessagesMediaType, to_text(*messages) + "\n");
  }

  Result<void> write() {
    for (const std::string& text : layer_statuses()) report(text);
    std::vector<Digest> digests;
    for (const Layer& layer : layers_) digests.push_back(layer.digest);
    const std::string config = config_.to_json(digests);
    Manifest manifest;
    manifest.config = {std::string(kConfigMediaType), Digest::of(config), config.size(), "", ""};
    manifest.layers = layers_;
    pins_.pin(manifest.config.digest);
    if (const Result<Digest> put = store_.blobs_.put(config); !put) return put.error();
    report("writing manifest");
    if (Result<void> written = store_.write_manifest(spec_.name, manifest.to_json(), pins_); !written) return written;
    keep_promises();
    report("success");
    return {};
  }

  void keep_promises() {
    std::set<Digest> given;
    for (const auto* files : {&spec_.files, &spec_.adapters}) {
      for (const auto& [path, text] : *files) {
        if (const Result<Digest> digest = Digest::parse(text)) given.insert(*digest);
      }
    }
    for (const Digest& digest : given) store_.pins_.keep_promise(digest);
  }

  void add_existing(Layer layer) { layers_.push_back(std::move(layer)); }

  Result<void> add_text(std::string_view media_type, const std::string& text) {
    if (text.size() > kTextLayerBytesMax) return too_large();
    const Digest digest = Digest::of(text);
    pins_.pin(digest);
    if (!store_.blobs_.has(digest)) new_.insert(digest);
    if (const Result<Digest> put = store_.blobs_.put(text); !put) return put.error();
    layers_.push_back({std::string(media_type), digest, text.size(), "", ""});
    return {};
  }

  void drop_layers(std::string_view media_type) {
    std::erase_if(layers_, [&](const Layer& layer) { return layer.media_type == media_type; });
  }

  std::vector<std::string> layer_statuses() const {
    std::vector<std::string> statuses;
    for (const Layer& layer : layers_) {
      statuses.push_back(fmt::format("{} {}",
                                     new_.contains(layer.digest) ? "creating new layer" : "using existing layer",
                                     layer.digest.to_string()));
    }
    return statuses;
  }

  ModelStore& store_;
  const CreateSpec& spec_;
  const StatusCallback& status_;
  const Quantizer& quantizer_;
  BlobPins::Holder pins_;
  std::vector<Layer> layers_;
  std::set<Digest> new_;  // Blobs that this creation wrote.
  ModelConfig config_;
};

Result<void> ModelStore::create(const CreateSpec& spec, const StatusCallback& status, const Quantizer& quantizer) {
  return ModelCreation(*this, spec, status, quantizer).run();
}

Result<void> ModelStore::import_gguf(const ModelName& name, std::string_view bytes) {
  const Digest digest = Digest::of(bytes);
  if (const auto model = find(name); model.ok() && (*model)->model_digest == digest) return {};
  BlobPins::Holder pins(pins_);
  pins.pin(digest);
  if (const Result<Digest> put = blobs_.put(bytes); !put) return put.error();
  CreateSpec spec(name);
  spec.files = {{"model.gguf", digest.to_string()}};
  return create(spec, nullptr);
}

}  // namespace drover
