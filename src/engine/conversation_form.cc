#include "engine/conversation_form.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string_view>
#include <vector>

namespace drover {
namespace {

constexpr std::string_view kBetweenTexts = "\n\n";
constexpr const char* kProbeTools = R"([{"type":"function","function":{"name":"probe_tool","description":"Probe",
  "parameters":{"type":"object","properties":{"probe_argument":{"type":"string","description":"Probe"}},
  "required":["probe_argument"]}}}])";

pb::Message& add(pb::Chat& chat, const char* role, std::string content) {
  pb::Message& message = *chat.add_messages();
  message.set_role(role);
  message.set_content(std::move(content));
  return message;
}

// A conversation with these roles ("system", "user" …), whose texts are "Probe 0 text", "Probe 1 text" …
pb::Chat conversation(std::initializer_list<const char*> roles) {
  pb::Chat chat;
  for (const char* role : roles) add(chat, role, "Probe " + std::to_string(chat.messages_size()) + " text");
  return chat;
}

bool shows_all(const RenderConversation& render, const pb::Chat& chat) {
  const auto text = render(chat);
  if (!text) return false;
  return std::all_of(chat.messages().begin(), chat.messages().end(),
                     [&](const pb::Message& message) { return text->find(message.content()) != std::string::npos; });
}

bool shows_turns(const RenderConversation& render, std::initializer_list<const char*> roles) {
  return shows_all(render, conversation(roles));
}

// A question, a call with each of these ids, and their results.
pb::Chat call_conversation(std::initializer_list<const char*> ids) {
  pb::Chat chat;
  chat.set_tools_json(kProbeTools);
  add(chat, "user", "Probe question");
  pb::Message& answer = add(chat, "assistant", "");
  for (const char* id : ids) {
    pb::ToolCall& call = *answer.add_tool_calls();
    call.set_id(id);
    call.set_name("probe_tool");
    call.set_arguments_json(std::string(R"({"probe_argument":"asked )") + id + "\"}");
  }
  for (const char* id : ids) {
    pb::Message& result = add(chat, "tool", std::string("Probe result ") + id);
    result.set_tool_call_id(id);
    result.set_tool_name("probe_tool");
  }
  return chat;
}

// Whether the arguments of all calls are shown too, beside what the answer says.
bool shows_calls(const RenderConversation& render, std::initializer_list<const char*> ids, const char* said = "") {
  pb::Chat chat = call_conversation(ids);
  chat.mutable_messages(1)->set_content(said);
  const auto text = render(chat);
  return text && std::all_of(ids.begin(), ids.end(), [&](const char* id) {
           return text->find(std::string("asked ") + id) != std::string::npos;
         });
}

bool is_system(const pb::Message& message) {
  return message.role() == "system";
}

void append_text(std::string& to, std::string_view text) {
  if (text.empty()) return;
  if (!to.empty()) to += kBetweenTexts;
  to += text;
}

// Rebuilds the messages: calls `take` once for each, with the messages built so far.
template <typename Take>
void rebuild(pb::Chat& chat, Take take) {
  google::protobuf::RepeatedPtrField<pb::Message> old;
  old.Swap(chat.mutable_messages());
  for (pb::Message& message : old) take(message, *chat.mutable_messages());
}

// The number of system messages at the start of the conversation.
int leading_systems(const pb::Chat& chat) {
  int count = 0;
  while (count < chat.messages_size() && is_system(chat.messages(count))) ++count;
  return count;
}

void merge_leading_systems(pb::Chat& chat) {
  const int count = leading_systems(chat);
  if (count < 2) return;
  std::string text;
  for (int i = 0; i < count; ++i) append_text(text, chat.messages(i).content());
  chat.mutable_messages(0)->set_content(std::move(text));
  chat.mutable_messages()->DeleteSubrange(1, count - 1);
}

// Moves the system's text before the first question.
void move_system_into_question(pb::Chat& chat) {
  merge_leading_systems(chat);
  if (leading_systems(chat) == 0) return;
  const auto question = std::find_if(chat.mutable_messages()->begin(), chat.mutable_messages()->end(),
                                     [](const pb::Message& message) { return message.role() == "user"; });
  if (question == chat.mutable_messages()->end()) {
    chat.mutable_messages(0)->set_role("user");
    return;
  }
  std::string text = chat.messages(0).content();
  append_text(text, question->content());
  question->set_content(std::move(text));
  chat.mutable_messages()->DeleteSubrange(0, 1);
}

void turn_later_systems_into_questions(const TemplateHabits& habits, pb::Chat& chat) {
  for (int i = leading_systems(chat); i < chat.messages_size(); ++i) {
    const bool last = i + 1 == chat.messages_size();
    const bool taken = last ? habits.last_system : habits.later_system;
    if (is_system(chat.messages(i)) && !taken) chat.mutable_messages(i)->set_role("user");
  }
}

// Calls that a template does not show are written as text.
void tell_calls(pb::Chat& chat) {
  for (pb::Message& message : *chat.mutable_messages()) {
    for (const pb::ToolCall& call : message.tool_calls()) {
      append_text(*message.mutable_content(), call.name() + "(" + call.arguments_json() + ")");
    }
    message.clear_tool_calls();
  }
}

// Text that hides the calls beside it becomes an answer before them.
void part_text_from_calls(pb::Chat& chat) {
  rebuild(chat, [](pb::Message& message, auto& into) {
    if (message.tool_calls_size() > 0 && !message.content().empty()) {
      pb::Message& said = *into.Add();
      said.set_role(message.role());
      said.set_content(message.content());
      said.set_thinking(message.thinking());
      message.clear_content();
      message.clear_thinking();
    }
    into.Add(std::move(message));
  });
}

void tell_result(pb::Message& message) {
  message.set_role("user");
  if (!message.tool_name().empty()) message.set_content(message.tool_name() + ": " + message.content());
  message.clear_tool_name();
  message.clear_tool_call_id();
}

void tell_results(pb::Chat& chat) {
  for (pb::Message& message : *chat.mutable_messages()) {
    if (message.role() == "tool") tell_result(message);
  }
}

void tell_lone_results(pb::Chat& chat) {
  bool called = false;
  for (pb::Message& message : *chat.mutable_messages()) {
    if (message.role() != "tool") {
      called = message.tool_calls_size() > 0;
    } else if (!called) {
      tell_result(message);
    }
  }
}

bool is_of_call(const pb::Message& message) {
  return message.role() == "tool" || message.tool_calls_size() > 0;
}

// An answer that says nothing stands between a result, or a call without one, and a question.
void answer_before_questions(pb::Chat& chat) {
  rebuild(chat, [](pb::Message& message, auto& into) {
    const bool next = message.role() == "user" && !into.empty() && is_of_call(into[into.size() - 1]);
    if (next) into.Add()->set_role("assistant");
    into.Add(std::move(message));
  });
}

// An answer with several calls becomes one answer per call, each followed by its result.
void split_calls(pb::Chat& chat) {
  google::protobuf::RepeatedPtrField<pb::Message> old;
  old.Swap(chat.mutable_messages());
  for (int i = 0; i < old.size(); ++i) {
    const int calls = old[i].tool_calls_size();
    if (calls < 2) {
      *chat.add_messages() = old[i];
      continue;
    }
    int end = i + 1;
    while (end < old.size() && old[end].role() == "tool") ++end;
    std::vector<bool> placed(static_cast<std::size_t>(end - i), false);
    for (int c = 0; c < calls; ++c) {
      pb::Message& answer = *chat.add_messages();
      answer.set_role("assistant");
      if (c == 0) answer.set_content(old[i].content());
      if (c == 0) answer.set_thinking(old[i].thinking());
      *answer.add_tool_calls() = old[i].tool_calls(c);
      for (int r = i + 1; r < end; ++r) {
        if (placed[static_cast<std::size_t>(r - i)] || old[r].tool_call_id() != old[i].tool_calls(c).id()) continue;
        placed[static_cast<std::size_t>(r - i)] = true;
        *chat.add_messages() = old[r];
        break;
      }
    }
    for (int r = i + 1; r < end; ++r) {
      if (!placed[static_cast<std::size_t>(r - i)]) *chat.add_messages() = old[r];
    }
    i = end - 1;
  }
}

void merge_same_roles(pb::Chat& chat) {
  rebuild(chat, [](pb::Message& message, auto& into) {
    pb::Message* before = into.empty() ? nullptr : &into[into.size() - 1];
    const bool question = message.role() == "user";
    const bool answer = message.role() == "assistant";
    if (before == nullptr || before->role() != message.role() || !(question || answer) ||
        before->tool_calls_size() > 0) {
      into.Add(std::move(message));
      return;
    }
    append_text(*before->mutable_content(), message.content());
    append_text(*before->mutable_thinking(), message.thinking());
    before->mutable_tool_calls()->MergeFrom(message.tool_calls());
  });
}

void begin_with_question(pb::Chat& chat) {
  const int first = leading_systems(chat);
  if (first == chat.messages_size() || chat.messages(first).role() != "assistant") return;
  rebuild(chat, [first](pb::Message& message, auto& into) {
    if (into.size() == first) into.Add()->set_role("user");
    into.Add(std::move(message));
  });
}

bool is_short_id(std::string_view id) {
  return id.size() == 9 && std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isalnum(c) != 0; });
}

// Deterministic, so that a call and its result get the same id in every request (FNV-1a).
std::string short_id(std::string_view id) {
  if (is_short_id(id)) return std::string(id);
  constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";
  std::uint64_t hash = 14695981039346656037u;
  for (const unsigned char c : id) hash = (hash ^ c) * 1099511628211u;
  std::string text;
  for (int i = 0; i < 9; ++i, hash /= kDigits.size()) text += kDigits[hash % kDigits.size()];
  return text;
}

// Assigns results to the calls of the previous answer: by id, else by name, else in order.
class CallIds {
 public:
  explicit CallIds(bool any) : any_(any) {}

  void read(pb::Message& message) {
    if (message.role() == "tool") return answer(message);
    if (message.tool_calls_size() > 0) open_.clear();
    for (pb::ToolCall& call : *message.mutable_tool_calls()) {
      if (call.id().empty()) call.set_id("call_" + std::to_string(made_++));
      open_.push_back({call.id(), call.name()});
      if (!any_) call.set_id(short_id(call.id()));
    }
  }

 private:
  struct Open {
    std::string id;
    std::string name;
  };

  void answer(pb::Message& result) {
    auto found = std::find_if(open_.begin(), open_.end(), [&](const Open& call) {
      return result.tool_call_id().empty() ? call.name == result.tool_name() : call.id == result.tool_call_id();
    });
    if (found == open_.end() && result.tool_call_id().empty()) found = open_.begin();
    if (found != open_.end()) {
      if (result.tool_call_id().empty()) result.set_tool_call_id(found->id);
      if (result.tool_name().empty()) result.set_tool_name(found->name);
      open_.erase(found);
    } else if (result.tool_call_id().empty()) {
      result.set_tool_call_id("call_" + std::to_string(made_++));
    }
    if (!any_) result.set_tool_call_id(short_id(result.tool_call_id()));
  }

  const bool any_;
  int made_ = 0;
  std::vector<Open> open_;
};

bool has_calls(const pb::Chat& chat) {
  return std::any_of(chat.messages().begin(), chat.messages().end(), is_of_call);
}

// Whether a question may stand right behind a result and behind a call, or an answer between them would not help.
bool takes_question_next(const RenderConversation& render) {
  pb::Chat after_result = call_conversation({"a1b2c3d4e"});
  pb::Chat after_call = after_result;
  after_call.mutable_messages()->RemoveLast();
  for (pb::Chat* chat : {&after_result, &after_call}) {
    pb::Chat answered = *chat;
    add(*chat, "user", "Probe next");
    add(answered, "assistant", "");
    add(answered, "user", "Probe next");
    if (!shows_all(render, *chat) && shows_all(render, answered)) return false;
  }
  return true;
}

}  // namespace

TemplateHabits find_habits(const RenderConversation& render) {
  TemplateHabits habits;
  if (!shows_turns(render, {"user", "assistant", "user"}))
    return habits;  // it shows nothing, so nothing can be learned
  habits.same_role =
      shows_turns(render, {"user", "user"}) && shows_turns(render, {"user", "assistant", "assistant", "user"});
  habits.answer_first = shows_turns(render, {"assistant", "user"});
  habits.system = shows_turns(render, {"system", "user"});
  habits.second_system = habits.system && shows_turns(render, {"system", "system", "user"});
  habits.later_system = shows_turns(render, {"system", "user", "assistant", "system", "user"}) &&
                        shows_turns(render, {"user", "assistant", "system", "user"});
  habits.last_system =
      shows_turns(render, {"system", "user", "assistant", "user", "system"}) && shows_turns(render, {"user", "system"});
  habits.system_alone = habits.system && shows_turns(render, {"system"});
  pb::Chat thoughtful = conversation({"user", "assistant", "user"});
  thoughtful.mutable_messages(1)->set_thinking("Probe thought");
  habits.thoughts = shows_all(render, thoughtful);
  const std::initializer_list<const char*> any_ids = {"call_a1b2-c3d4_e5f6"};
  const std::initializer_list<const char*> short_ids = {"a1b2c3d4e"};
  habits.any_id = shows_all(render, call_conversation(any_ids));
  habits.tool_results = habits.any_id || shows_all(render, call_conversation(short_ids));
  habits.calls = shows_calls(render, habits.any_id ? any_ids : short_ids);
  habits.calls_beside_text = !habits.calls || shows_calls(render, habits.any_id ? any_ids : short_ids, "Probe text");
  habits.several_calls = shows_calls(render, {"a1b2c3d4e", "f5g6h7i8j"}) &&
                         shows_all(render, call_conversation({"a1b2c3d4e", "f5g6h7i8j"}));
  if (!habits.tool_results) habits.any_id = true;
  habits.lone_results = shows_turns(render, {"user", "tool", "user"}) && shows_turns(render, {"tool", "user"});
  habits.question_next = takes_question_next(render);
  return habits;
}

bool is_in_turn(const pb::Chat& chat) {
  bool question = true;
  for (const pb::Message& message : chat.messages()) {
    if (message.role() != (question ? "user" : "assistant") || message.tool_calls_size() > 0) return false;
    if (!message.thinking().empty()) return false;
    question = !question;
  }
  return true;
}

const pb::Message* begun_answer(const pb::Chat& chat) {
  if (chat.messages_size() < 2) return nullptr;
  const pb::Message& last = chat.messages(chat.messages_size() - 1);
  if (last.role() != "assistant" || last.tool_calls_size() > 0) return nullptr;
  return last.content().empty() && last.thinking().empty() ? nullptr : &last;
}

void reshape(const TemplateHabits& habits, pb::Chat& chat) {
  for (pb::Message& message : *chat.mutable_messages()) {
    if (message.role() == "developer") message.set_role("system");
    if (message.role() == "function") message.set_role("tool");  // its name before there were tools
  }
  if (!habits.system) {
    move_system_into_question(chat);
  } else if (!habits.second_system) {
    merge_leading_systems(chat);
  }
  const int systems = leading_systems(chat);
  if (!habits.system_alone && systems > 0 && systems == chat.messages_size()) {
    chat.mutable_messages(systems - 1)->set_role("user");
  }
  turn_later_systems_into_questions(habits, chat);
  if (!habits.thoughts) {
    for (pb::Message& message : *chat.mutable_messages()) message.clear_thinking();
  }
  if (has_calls(chat)) {
    CallIds ids(habits.any_id);
    for (pb::Message& message : *chat.mutable_messages()) ids.read(message);
    if (!habits.several_calls) split_calls(chat);
    if (!habits.calls_beside_text && habits.same_role) part_text_from_calls(chat);
    if (!habits.calls) tell_calls(chat);
    if (!habits.tool_results) tell_results(chat);
    if (!habits.lone_results) tell_lone_results(chat);
  }
  if (!habits.same_role) merge_same_roles(chat);
  if (!habits.question_next) answer_before_questions(chat);
  if (!habits.answer_first) begin_with_question(chat);
}

}  // namespace drover
