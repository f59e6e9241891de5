#include "store/manifest_folder.h"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <set>
#include <span>

#include "base/text.h"
#include "store/atomic_file.h"
#include "store/digest.h"
#include "store/manifest.h"

namespace drover {
namespace {

namespace fs = std::filesystem;

// The name under which manifests-v2 files the public registry's models.
constexpr std::string_view kLinkedDefaultHost = "ollama.com";
constexpr std::size_t kParts = 4;

// The entries of `folder` that are called `part`: the one in the same case first.
std::vector<std::string> matching_entries(const fs::path& folder, const std::string& part) {
  std::vector<std::string> matches;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name == part) return {std::move(name)};
    if (equal_but_for_case(name, part)) matches.push_back(std::move(name));
  }
  std::sort(matches.begin(), matches.end());
  return matches;
}

// The file below `folder` whose path is `parts`, without regard to case. Symbolic links are followed nowhere.
std::optional<fs::path> find_below(const fs::path& folder, std::span<const std::string> parts) {
  std::error_code error;
  if (parts.empty()) {
    const fs::file_status status = fs::symlink_status(folder, error);
    if (!fs::exists(status) || fs::is_directory(status)) return std::nullopt;
    return folder;
  }
  // The exact path is what nearly all look-ups are for; it costs no listing of folders.
  if (fs::is_directory(fs::symlink_status(folder, error))) {
    if (std::optional<fs::path> found = find_below(folder / parts.front(), parts.subspan(1))) return found;
    for (const std::string& match : matching_entries(folder, parts.front())) {
      if (match == parts.front()) continue;
      if (std::optional<fs::path> found = find_below(folder / match, parts.subspan(1))) return found;
    }
  }
  return std::nullopt;
}

std::array<std::string, kParts> parts_of(const ModelName& name, std::string_view host) {
  return {std::string(host), name.name_space(), name.model(), name.tag()};
}

// The hosts under which `name` may be filed.
std::vector<std::string> hosts_of(const ModelName& name) {
  if (equal_but_for_case(name.host(), kDefaultHost))
    return {std::string(kDefaultHost), std::string(kLinkedDefaultHost)};
  return {name.host()};
}

// The folder itself may be a link to another disk; below it none is followed.
fs::path resolved(const fs::path& folder) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(folder, error);
  return error ? folder : path;
}

std::optional<ModelName> name_of(const fs::path& folder, const fs::path& manifest) {
  std::vector<std::string> parts;
  for (const fs::path& part : manifest.lexically_relative(folder)) parts.push_back(part.string());
  if (parts.size() != kParts) return std::nullopt;
  Result<ModelName> name = ModelName::from_parts(parts[0], parts[1], parts[2], parts[3]);
  if (!name) return std::nullopt;
  return *std::move(name);
}

// Adds the files that are `depth` folders below `folder`, as manifests are. Hidden ones are temporary files. A folder
// that goes away meanwhile has no files; any other failure, or too many files, is an error, and what could be read is
// there all the same.
Result<void> add_files_below(const fs::path& folder, std::size_t depth, std::vector<fs::path>& files) {
  std::error_code error;
  Result<void> result;
  fs::directory_iterator entry(folder, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().starts_with('.')) continue;
    std::error_code gone;
    const bool is_folder = entry->symlink_status(gone).type() == fs::file_type::directory;
    if (is_folder == (depth == 0)) continue;
    if (is_folder) {
      if (Result<void> below = add_files_below(entry->path(), depth - 1, files); !below) result = below;
    } else if (files.size() < kManifestsMax) {
      files.push_back(entry->path());
    } else {
      return internal(fmt::format("{} has more than {} files", shown_name(folder), kManifestsMax));
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) return file_error("read", folder, error.value());
  return result;
}

}  // namespace

std::optional<FileStamp> stamp_of(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileStamp{std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec,
                   static_cast<std::uint64_t>(status.st_size), status.st_ino};
}

ManifestFolder::ManifestFolder(const fs::path& models)
    : folder_(resolved(models / "manifests")),
      linked_folder_(resolved(models / "manifests-v2")),
      blobs_(models / "blobs") {}

std::vector<fs::path> ManifestFolder::files_of(const ModelName& name) const {
  std::vector<fs::path> files;
  for (const fs::path& folder : {linked_folder_, folder_}) {
    for (const std::string& host : hosts_of(name)) {
      if (std::optional<fs::path> file = find_below(folder, parts_of(name, host))) files.push_back(std::move(*file));
    }
  }
  return files;
}

std::optional<ManifestFile> ManifestFolder::find(const ModelName& name) const {
  for (fs::path& file : files_of(name)) {
    const fs::path& folder = file.string().starts_with(linked_folder_.string() + '/') ? linked_folder_ : folder_;
    if (std::optional<ModelName> stored = name_of(folder, file)) return ManifestFile{*stored, std::move(file)};
  }
  return std::nullopt;
}

std::vector<ManifestFile> ManifestFolder::list() const {
  std::vector<ManifestFile> manifests;
  std::set<std::string> seen;
  for (const fs::path& folder : {linked_folder_, folder_}) {
    std::vector<fs::path> files;
    if (const Result<void> added = add_files_below(folder, kParts - 1, files); !added) {
      spdlog::warn("some models are skipped: {}", added.error().message);
    }
    for (fs::path& file : files) {
      std::optional<ModelName> name = name_of(folder, file);
      if (!name) {
        spdlog::warn("skipping {}: it is not a valid model name", file.string());
      } else if (seen.insert(name->folded()).second) {
        manifests.push_back({std::move(*name), std::move(file)});
      }
    }
  }
  return manifests;
}

Result<std::string> ManifestFolder::read(const fs::path& manifest) const {
  std::error_code error;
  if (!fs::is_symlink(fs::symlink_status(manifest, error))) return read_whole_file(manifest, kManifestBytesMax);

  // The only link that is followed is one to a blob that holds what its name says.
  const fs::path target = (manifest.parent_path() / fs::read_symlink(manifest, error)).lexically_normal();
  const Result<Digest> digest = Digest::parse(target.filename().string());
  if (!digest || !fs::equivalent(target.parent_path(), blobs_, error)) {
    return invalid(fmt::format("{} is a symbolic link that does not point to a blob", shown_name(manifest)));
  }
  Result<std::string> text = read_whole_file(blobs_ / digest->file_name(), kManifestBytesMax);
  if (text.ok() && Digest::of(*text) != *digest) {
    return invalid(fmt::format("{} points to a blob whose content does not match its digest", shown_name(manifest)));
  }
  return text;
}

Result<std::vector<std::string>> ManifestFolder::read_all() const {
  std::vector<std::string> texts;
  for (const fs::path& folder : {linked_folder_, folder_}) {
    std::vector<fs::path> files;
    if (Result<void> added = add_files_below(folder, kParts - 1, files); !added) return std::move(added).error();
    for (const fs::path& file : files) {
      Result<std::string> text = read(file);
      if (text.ok()) {
        texts.push_back(std::move(*text));
      } else if (text.error().code == ErrorCode::kInternal) {
        return std::move(text).error();
      }
      // Anything else is gone, or can be nobody's manifest as it is.
    }
  }
  return texts;
}

fs::path ManifestFolder::place_for(const ModelName& name) const {
  for (const std::string& host : hosts_of(name)) {
    if (std::optional<fs::path> existing = find_below(folder_, parts_of(name, host))) return std::move(*existing);
  }
  // A new tag of a known model goes to that model's folder, whatever case it is in.
  fs::path place = folder_;
  for (const std::string& part : parts_of(name, name.host())) {
    const std::vector<std::string> matches = matching_entries(place, part);
    place /= matches.empty() ? part : matches.front();
  }
  return place;
}

Result<void> ManifestFolder::write(const ModelName& name, std::string_view text) {
  const fs::path place = place_for(name);
  std::error_code error;
  for (fs::path folder = place.parent_path(); folder != folder_; folder = folder.parent_path()) {
    if (fs::is_symlink(fs::symlink_status(folder, error))) {
      return invalid(fmt::format("{} is a symbolic link", shown_name(folder)));
    }
  }
  if (Result<void> made = make_folders(place.parent_path()); !made) return made;
  Result<AtomicFile> file = AtomicFile::create(folder_);
  if (!file) return std::move(file).error();
  if (Result<void> written = file->write(text); !written) return written;
  if (Result<void> committed = file->commit(place); !committed) return committed;
  for (const fs::path& other : files_of(name)) {
    // A link of a newer Ollama would hide what was just written.
    if (other == place) continue;
    if (Result<void> removed = remove_file(other); !removed) return removed;
  }
  return {};
}

Result<void> ManifestFolder::remove(const ModelName& name) {
  const std::vector<fs::path> files = files_of(name);
  if (files.empty()) return not_found(fmt::format("model '{}' not found", name.display_shortest()));
  for (const fs::path& file : files) {
    if (Result<void> removed = remove_file(file); !removed) return removed;
  }
  return {};
}

Result<void> ManifestFolder::remove_file(const fs::path& file) const {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return file_error("remove", file, errno);
  if (Result<void> synced = sync_folder(file.parent_path()); !synced) return synced;
  fs::path folder = file.parent_path();
  for (std::size_t i = 0; i + 1 < kParts && ::rmdir(folder.c_str()) == 0; ++i) folder = folder.parent_path();
  return {};
}

}  // namespace drover
