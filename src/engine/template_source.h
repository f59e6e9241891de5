// Mends the source of a chat template where its author and every renderer read it differently.
#pragma once

#include <string>

namespace drover {

// `schema.items` is the method of a dictionary in Jinja, and not its key. Authors who write it without a call mean the
// key of a JSON schema, the items of a list (Command R+): it becomes `schema['items']`. Text outside of tags stays.
std::string with_items_as_key(std::string source);

}  // namespace drover
