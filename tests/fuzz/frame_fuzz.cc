// What front and runner say to each other. Neither is a stranger, but a runner may have gone wrong.
#include "base/frame.h"
#include "fuzz.h"
#include "runner.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < drover::kFrameHeaderBytes) return 0;
  std::array<char, drover::kFrameHeaderBytes> header{};
  std::copy(data, data + header.size(), header.begin());
  expect(drover::frame_header(drover::frame_size(header)) == header, "a header says one size");
  drover::pb::ToRunner to_runner;
  (void)to_runner.ParseFromArray(data, static_cast<int>(size));
  drover::pb::FromRunner from_runner;
  if (from_runner.ParseFromArray(data, static_cast<int>(size))) (void)from_runner.SerializeAsString();
  return 0;
}
