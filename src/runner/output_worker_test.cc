#include "runner/output_worker.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/frame.h"
#include "engine/cria_fixture.h"

namespace drover {
namespace {

constexpr const char* kCall = R"(<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>)";

// What the front is told of an output: calls and content of all chunks, and whether the engine was asked to stop.
struct Told {
  int calls = 0;
  std::string content;
  bool stop = false;
};

pb::FromRunner read_frame(int end) {
  std::array<char, kFrameHeaderBytes> header;
  EXPECT_EQ(::recv(end, header.data(), header.size(), MSG_WAITALL), static_cast<ssize_t>(header.size()));
  std::string text(frame_size(header), '\0');
  EXPECT_EQ(::recv(end, text.data(), text.size(), MSG_WAITALL), static_cast<ssize_t>(text.size()));
  pb::FromRunner frame;
  EXPECT_TRUE(frame.ParseFromString(text));
  return frame;
}

Told run(const std::string& text, bool one_call) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  FrameChannel channel(ends[0]);
  Mailbox<EngineMail> engine;
  Mailbox<OutputMail> mail;
  OutputSyntax syntax;
  syntax.tools_json = R"([{"type":"function","function":{"name":"get_weather"}}])";
  syntax.tool_tag = "<tool_call>";
  auto job = std::make_unique<OutputJob>(
      OutputJob{.request = RequestId{1}, .parser = OutputParser(syntax, {}), .context = {}});
  job->one_call = one_call;
  mail.post(OutputBegin{std::move(job)});
  for (const Token token : cria().tokenize(text, false)) {
    OutputStep step;
    step.tokens.push_back({RequestId{1}, token, {}});
    mail.post(std::move(step));
  }
  OutputEnd end;
  end.finished.set_request(1);
  mail.post(std::move(end));
  mail.close();
  OutputWorker(cria(), channel, engine).run(mail);
  Told told;
  const auto add = [&](const pb::Chunk& chunk) {
    told.calls += chunk.tool_calls_size();
    told.content += chunk.content();
  };
  pb::FromRunner frame;
  do {
    frame = read_frame(ends[1]);
    for (const pb::Chunk& chunk : frame.chunks().chunks()) add(chunk);
  } while (!frame.has_finished());
  add(frame.finished().last());
  engine.close();
  std::vector<EngineMail> asked;
  told.stop = engine.drain(asked, false) && !asked.empty();
  for (const int each : ends) ::close(each);
  return told;
}

TEST(OutputWorker, OneCallEndsTheOutput) {
  const std::string two = std::string("Well. ") + kCall + "\n" + kCall + " Done.";
  const Told many = run(two, false);
  EXPECT_EQ(many.calls, 2);
  EXPECT_FALSE(many.stop);
  const Told one = run(two, true);
  EXPECT_EQ(one.calls, 1);
  EXPECT_EQ(one.content, "Well.");
  EXPECT_TRUE(one.stop);
  EXPECT_EQ(run("Well.", true).content, "Well.");
}

}  // namespace
}  // namespace drover
