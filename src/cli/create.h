// `create`: makes a model from a Modelfile.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "client/api_client.h"
#include "client/json.h"
#include "store/modelfile.h"

namespace drover::cli {

struct LocalFile {
  std::filesystem::path path;
  std::string name;  // what the server is told it is called
  enum class Use { kModel, kAdapter } use = Use::kModel;
};

// What a Modelfile asks for. `body` is the request but for the files' digests, which are known once they are read.
struct CreatePlan {
  Json body = Json::object();
  std::vector<LocalFile> files;
};

// Works out the plan. FROM and ADAPTER that name a file, relative to `folder` or to the home folder with ~/, are files;
// a FROM that names none is the name of a model. Looks at the file system, but reads no file.
// Errors: kInvalidArgument for wrong parameters, messages and what cannot be made; kNotFound for a missing adapter.
Result<CreatePlan> plan_create(const Modelfile& modelfile, const std::filesystem::path& folder);

struct CreateArguments {
  std::string model;
  std::string file;      // the Modelfile; "-": standard input; "": "Modelfile", and FROM . if there is none
  std::string quantize;  // "": as it is
};

// The whole command, with its progress on standard error.
Result<void> create_model(ApiClient& client, const CreateArguments& arguments);

}  // namespace drover::cli
