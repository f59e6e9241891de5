#include "api/embed_request.h"

#include "api/ask_fixture.h"
#include "api/openai_tokens.h"

namespace drover::api {
namespace {

TEST(Embed, WhatIsAsked) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","input":"a"})", R"(m text="a")"},
      {R"({"model":"m","input":["a",""]})", R"(m text="a" text="")"},
      {R"({"model":"m"})", R"(m load)"},
      {R"({"model":"m","input":""})", R"(m load)"},
      {R"({"model":"m","input":[]})", R"(m load)"},
      {R"({"model":"m","keep_alive":0})", R"(m load keep_alive=0)"},
      {R"({"model":"m","input":"a","truncate":false})", R"(m text="a" no_truncate)"},
      {R"({"model":"m","input":"a","options":{"num_ctx":64}})", R"(m text="a" options={"num_ctx":64})"},
  };
  check_rows(read_embed, kRows);
}

TEST(Embed, WhatIsWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"input":"a"})", R"(404: model '' not found)"},
      {R"({"model":"m","input":5})", R"(400: invalid input type)"},
      {R"({"model":"m","input":["a",5]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":[1,2]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":"a","dimensions":"many"})",
       R"(400: json: cannot unmarshal string into Go struct field EmbedRequest.dimensions of type int)"},
      {R"({"model":"m","input":"a","truncate":1})",
       R"(400: json: cannot unmarshal number into Go struct field EmbedRequest.truncate of type bool)"},
      {R"({"model":"m","input":"a","options":{"num_ctx":"big"}})", R"(400: option "num_ctx" must be of type integer)"},
  };
  check_rows(read_embed, kRows);
}

TEST(Embeddings, WhatIsAskedAndWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","prompt":"a"})", R"(m text="a" no_truncate)"},
      {R"({"model":"m"})", R"(m load no_truncate)"},
      {R"({"prompt":"a"})", R"(400: model is required)"},
      {R"({"model":"m","prompt":["a"]})",
       R"(400: json: cannot unmarshal array into Go struct field EmbeddingRequest.prompt of type string)"},
  };
  check_rows(read_embeddings, kRows);
}

TEST(OpenaiEmbeddings, WhatIsAskedAndWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","input":"a","encoding_format":"BASE64"})", R"(m text="a")"},
      {R"({"model":"m","input":["a","b"]})", R"(m text="a" text="b")"},
      {R"({"model":"m","input":[1,2]})", R"(m tokens=1,2)"},
      {R"({"model":"m","input":[[1],[2,3]]})", R"(m tokens=1 tokens=2,3)"},
      {R"({"model":"m","input":"a","options":5})", R"(m text="a")"},
      {R"({"model":"m"})", R"(400: invalid input)"},
      {R"({"model":"m","input":[]})", R"(400: invalid input)"},
      {R"({"model":"m","input":[1,"a"]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":[[1],"a"]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":[-1]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":[4294967296]})", R"(400: invalid input type)"},
      {R"({"model":"m","input":"a","encoding_format":"hex"})",
       R"(400: Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].)"},
  };
  check_rows(read_openai_embeddings, kRows);
}

TEST(Tokenize, WhatIsAskedAndWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","content":"a"})", R"(m prompt="a" raw context=0 no_truncate render_only want_tokens)"},
      {R"({"model":"m","content":"a","add_special":true})", R"(m prompt="a" raw no_truncate render_only want_tokens)"},
      {R"({"model":"m","prompt":"a"})", R"(m prompt="a" raw no_truncate render_only want_tokens)"},
      {R"({"model":"m","prompt":""})", R"(m prompt="" raw context=0 no_truncate render_only want_tokens)"},
      {R"({"model":"m","content":"a","with_pieces":true})",
       R"(m prompt="a" raw context=0 no_truncate render_only want_tokens warns: with_pieces is ignored)"},
      {R"({"model":"m","messages":[{"role":"user","content":"Hi"}],"keep_alive":5})",
       R"(m user"Hi" options={"temperature":1.0,"top_p":1.0} no_truncate render_only want_tokens)"},
      {R"({"model":"m"})", R"(400: content, prompt or messages is required)"},
      {R"({"model":"m","content":5})",
       R"(400: json: cannot unmarshal number into Go struct field TokenizeRequest.content of type string)"},
      {R"({"content":"a"})", R"(400: model is required)"},
  };
  check_rows(read_tokenize, kRows);
}

TEST(Detokenize, WhatIsAskedAndWrong) {
  constexpr BodyRow kRows[] = {
      {R"({"model":"m","tokens":[1,2]})", R"(m prompt="" raw context=1,2 no_truncate render_only want_tokens)"},
      {R"({"model":"m"})", R"(400: tokens is required)"},
      {R"({"model":"m","tokens":["a"]})", R"(400: tokens must be a list of numbers)"},
      {R"({"model":"m","tokens":[-1]})", R"(400: tokens must be a list of numbers)"},
      {R"({"model":"m","tokens":[4294967296]})", R"(400: tokens must be a list of numbers)"},
  };
  check_rows(read_detokenize, kRows);
}

}  // namespace
}  // namespace drover::api
