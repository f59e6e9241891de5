// The models that are to be in memory whatever happens: asks for each of them until it has been loaded once. From then
// on the policy keeps it so. I/O thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/result.h"
#include "fleet/alarm.h"
#include "fleet/model_target.h"

namespace drover {

struct Submission;
class Ticket;

class Pins {
 public:
  using Submit = std::function<Result<std::unique_ptr<Ticket>>(Submission)>;

  Pins(boost::asio::io_context& io, Submit submit);
  ~Pins();

  void add(const ModelTarget& target);
  bool contains(const std::string& key) const { return pins_.contains(key); }
  // One that has not been loaded yet; nullptr: all have been.
  const ModelTarget* first_missing() const;
  // Asks for no more.
  void stop();

 private:
  struct Pin {
    ModelTarget target;
    std::unique_ptr<Ticket> ticket;  // while it loads
    bool loaded = false;
    std::string refusal;  // the last one that was logged
  };

  void load();
  void ask_for(Pin& pin);

  const Submit submit_;
  std::map<std::string, Pin> pins_;  // by key
  Alarm alarm_;
  bool stopped_ = false;
};

}  // namespace drover
