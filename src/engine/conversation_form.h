// Brings conversations into a form that a chat template supports. Templates refuse or omit what their authors did not
// expect: a second system message, two questions in a row, an id longer than nine letters. Clients send all of these.
// Small test conversations show what a template supports.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "runner.pb.h"

namespace drover {

struct TemplateHabits {
  bool system = true;             // it shows a system message at the start
  bool second_system = true;      // and another one right after it
  bool later_system = true;       // and one between turns
  bool last_system = true;        // and one after them
  bool system_alone = true;       // and nothing else
  bool same_role = true;          // it takes two questions or two answers in a row
  bool answer_first = true;       // it takes a conversation that begins with an answer
  bool thoughts = true;           // it shows an answer that has thinking
  bool calls = true;              // it shows a call
  bool several_calls = true;      // and several in one answer
  bool calls_beside_text = true;  // and those of an answer that says something too
  bool tool_results = true;       // it shows the result of a call
  bool any_id = true;             // it takes ids of calls in any form; if not, nine letters and digits
  bool lone_results = true;       // it takes a result without the call, as conversations have that were cut
  bool question_next = true;      // and a question right after a result or a call
};

// A template's rendering of a conversation; nothing if it refuses it.
using RenderConversation = std::function<std::optional<std::string>(const pb::Chat&)>;

TemplateHabits find_habits(const RenderConversation& render);

// Whether every template supports the conversation as it is: questions and answers in turn, only text.
bool is_in_turn(const pb::Chat& chat);

// The answer that the client began and the model continues; null if there is none.
const pb::Message* begun_answer(const pb::Chat& chat);

// Brings `chat` into a form that a template with these habits supports. No message is lost: its text moves to the
// message before or after it, or becomes a question. Calls without an id get one; results get the id and the name of
// their call. Text beside a call stays there also if the template leaves it out: an answer of its own that ends before
// the call would be an example for the model to end its answer there.
void reshape(const TemplateHabits& habits, pb::Chat& chat);

}  // namespace drover
