// A request as the reader of its dialect has read it.
#pragma once

#include <memory>

#include "api/answer_form.h"
#include "api/ask.h"

namespace drover::api {

struct Request {
  Ask ask;
  std::unique_ptr<AnswerForm> form;  // of its answer
};

}  // namespace drover::api
