#include "cli/create.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <regex>
#include <set>
#include <system_error>

#include "store/digest.h"
#include "store/model_name.h"
#include "store/parameters.h"
#include "terminal/format.h"
#include "terminal/progress.h"

namespace drover::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 1u << 20;

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdin) std::fclose(file);
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Error file_error(const fs::path& path, int number) {
  const ErrorCode code = number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kInternal;
  return {code, fmt::format("open {}: {}", path.string(), std::error_code(number, std::generic_category()).message())};
}

fs::path expand(const std::string& text, const fs::path& folder) {
  const char* home = std::getenv("HOME");
  if (home != nullptr && text == "~") return home;
  if (home != nullptr && text.starts_with("~/")) return fs::path(home) / text.substr(2);
  return folder / text;  // An absolute text stays as it is.
}

// The files beside it that llama.cpp splits a model into, itself among them, if it is called as one of those.
std::vector<fs::path> parts_of_model(const fs::path& path) {
  static const std::regex kPart(R"((.*)-\d{5}-of-(\d{5})\.gguf)");
  std::smatch match;
  const std::string name = path.filename().string();
  if (!std::regex_match(name, match, kPart)) return {path};
  std::vector<fs::path> parts;
  const int count = std::stoi(match[2]);
  for (int number = 1; number <= count; ++number) {
    const fs::path part =
        path.parent_path() / fmt::format("{}-{:05}-of-{}.gguf", match[1].str(), number, match[2].str());
    std::error_code failure;
    if (part == path || fs::is_regular_file(part, failure)) parts.push_back(part);  // the server says what is missing
  }
  return parts;
}

// The GGUF files that a path stands for: itself, with what it is a part of; or those of the folder that it is.
Result<std::vector<fs::path>> model_files(const fs::path& path) {
  std::error_code failure;
  if (!fs::is_directory(path, failure)) return parts_of_model(path);
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path, failure)) {
    if (entry.path().extension() == ".gguf" && entry.is_regular_file(failure)) files.push_back(entry.path());
  }
  if (failure) return file_error(path, failure.value());
  if (files.empty()) return invalid(fmt::format("no GGUF files found in {}", path.string()));
  std::sort(files.begin(), files.end());
  return files;
}

Result<void> add_files(CreatePlan& plan, const fs::path& path, LocalFile::Use use) {
  auto files = model_files(path);
  if (!files.ok()) return files.error();
  for (const fs::path& file : *files) {
    const auto same = [&](const LocalFile& other) { return other.path == file && other.use == use; };
    if (std::none_of(plan.files.begin(), plan.files.end(), same)) {
      plan.files.push_back({file, file.filename().string(), use});
    }
  }
  return {};
}

Result<void> add_from(CreatePlan& plan, const std::string& text, const fs::path& folder) {
  std::error_code failure;
  const fs::path path = expand(text, folder);
  const fs::file_status status = fs::status(path, failure);
  const bool is_file = fs::is_regular_file(status);
  // A folder beside the Modelfile that happens to be called as a model is not meant, unless it is written as a path.
  const bool is_folder = fs::is_directory(status) && (text.starts_with('.') || text.find('/') != std::string::npos);
  if (is_file || is_folder) return add_files(plan, path, LocalFile::Use::kModel);
  if (fs::exists(status) && !fs::is_directory(status)) return invalid(fmt::format("{}: not a file", path.string()));
  if (!ModelName::parse(text).ok()) return file_error(path, ENOENT);
  plan.body["from"] = text;
  return {};
}

Result<void> add_adapter(CreatePlan& plan, const std::string& text, const fs::path& folder) {
  std::error_code failure;
  const fs::path path = expand(text, folder);
  if (!fs::exists(path, failure)) return file_error(path, ENOENT);
  return add_files(plan, path, LocalFile::Use::kAdapter);
}

Result<void> add_command(CreatePlan& plan, const ModelfileCommand& command, const fs::path& folder) {
  const std::string& name = command.name;
  const std::string& text = command.arguments;
  if (name == "model") return add_from(plan, text, folder);
  if (name == "adapter") return add_adapter(plan, text, folder);
  if (name == "draft") return invalid("DRAFT is not supported");
  if (name == "template" || name == "system" || name == "renderer" || name == "parser" || name == "requires") {
    plan.body[name] = text;
    return {};
  }
  if (name == "license") {
    plan.body["license"].push_back(text);
    return {};
  }
  if (name == "message") {
    const std::size_t colon = text.find(": ");
    if (colon == std::string::npos) return invalid(fmt::format("message {} has no role", in_quotes(text)));
    plan.body["messages"].push_back({{"role", text.substr(0, colon)}, {"content", text.substr(colon + 2)}});
    return {};
  }
  if (!plan.body.contains("parameters")) plan.body["parameters"] = Json::object();
  return add_parameter(plan.body["parameters"], name, text);
}

// Files of one name in different folders must not take each other's place in the request.
void make_names_unique(std::vector<LocalFile>& files) {
  std::set<std::string> taken;
  for (LocalFile& file : files) {
    const std::string name = file.name;
    for (int number = 2; !taken.insert(file.name).second; ++number) file.name = fmt::format("{}-{}", number, name);
  }
}

Result<std::string> read_modelfile(const std::string& argument) {
  const std::string path = argument.empty() ? "Modelfile" : argument;
  const File file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
  if (file == nullptr) {
    const int failure = errno;
    if (failure == ENOENT && argument.empty() && model_files(".").ok()) return std::string("FROM .\n");
    if (failure == ENOENT && argument.empty()) return not_found("no Modelfile or GGUF files found");
    if (failure == ENOENT) return not_found(fmt::format("specified Modelfile {} wasn't found", in_quotes(path)));
    return file_error(path, failure);
  }
  std::string text;
  std::string buffer(kReadBytes, '\0');
  while (text.size() <= kModelfileBytesMax) {
    const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (count == 0) break;
    text.append(buffer, 0, count);
  }
  if (std::ferror(file.get()) != 0) return file_error(path, errno);
  return text;  // Modelfile::parse() refuses what is too long.
}

Result<Digest> digest_of_file(const fs::path& path, Progress& progress) {
  errno = 0;
  const File file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) return file_error(path, errno);
  std::error_code failure;
  const std::uint64_t total = fs::file_size(path, failure);
  const std::string key = "read " + path.string();
  const std::string message = fmt::format("reading {}", path.filename().string());
  Sha256 hash;
  std::string buffer(kReadBytes, '\0');
  std::uint64_t done = 0;
  for (;;) {
    const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (count == 0) break;
    hash.update(std::string_view(buffer.data(), count));
    done += count;
    progress.bar(key, message, done, total);
  }
  if (std::ferror(file.get()) != 0) return file_error(path, errno);
  return hash.finish();
}

// Brings the file into the server's store, unless it is there already.
Result<Digest> provide_blob(ApiClient& client, const LocalFile& file, Progress& progress) {
  auto digest = digest_of_file(file.path, progress);
  if (!digest.ok()) return digest;
  const auto present = client.has_blob(*digest);
  if (!present.ok()) return present.error();
  if (*present) return digest;
  std::error_code failure;
  const std::uint64_t total = fs::file_size(file.path, failure);
  const std::string message = fmt::format("copying file sha256:{}", digest->hex().substr(0, 12));
  const auto uploaded = client.upload_blob(*digest, file.path, [&](std::uint64_t sent) {
    progress.bar(digest->to_string(), message, sent, std::max(sent, total));
  });
  if (!uploaded.ok()) return uploaded.error();
  return digest;
}

void show_create_progress(const Json& object, Progress& progress) {
  const std::string status = text_field(object, "status");
  const std::string digest = text_field(object, "digest");
  if (digest.empty()) {
    if (!status.empty()) progress.status(status);
    return;
  }
  const std::string message = status.empty() ? "pulling " + digest.substr(0, 19) : status;
  progress.bar(digest, message, count_field(object, "completed"), count_field(object, "total"));
}

}  // namespace

Result<CreatePlan> plan_create(const Modelfile& modelfile, const fs::path& folder) {
  CreatePlan plan;
  for (const ModelfileCommand& command : modelfile.commands) {
    if (auto added = add_command(plan, command, folder); !added.ok()) return added.error();
  }
  make_names_unique(plan.files);
  return plan;
}

Result<void> create_model(ApiClient& client, const CreateArguments& arguments) {
  if (!ModelName::parse(arguments.model).ok()) return invalid("invalid model name: " + arguments.model);
  if (auto reachable = client.check_reachable(); !reachable.ok()) return reachable;
  const auto text = read_modelfile(arguments.file);
  if (!text.ok()) return text.error();
  const auto modelfile = Modelfile::parse(*text);
  if (!modelfile.ok()) return modelfile.error();
  auto plan = plan_create(*modelfile, fs::path(arguments.file == "-" ? "" : arguments.file).parent_path());
  if (!plan.ok()) return plan.error();

  Progress progress(STDERR_FILENO);
  progress.status("gathering model components");
  Json body = {{"model", arguments.model}};
  body.update(plan->body);
  for (const LocalFile& file : plan->files) {
    const auto digest = provide_blob(client, file, progress);
    if (!digest.ok()) return digest.error();
    body[file.use == LocalFile::Use::kModel ? "files" : "adapters"][file.name] = digest->to_string();
  }
  if (!arguments.quantize.empty()) body["quantize"] = arguments.quantize;
  return client.stream(
      "/api/create", body, [&](const Json& object) { show_create_progress(object, progress); },
      [&] {
        progress.tick();
        return true;
      });
}

}  // namespace drover::cli
