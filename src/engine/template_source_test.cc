#include "engine/template_source.h"

#include <gtest/gtest.h>

#include <utility>

namespace drover {
namespace {

TEST(TemplateSource, ItemsThatAreNotCalledAreAKey) {
  const std::pair<const char*, const char*> rows[] = {
      {"{{- type_of(spec.items) + ']' }}", "{{- type_of(spec['items']) + ']' }}"},
      {"{% if a.items %}{{ f(x).items.type }}{{ b[0].items | length }}",
       "{% if a['items'] %}{{ f(x)['items'].type }}"
       "{{ b[0]['items'] | length }}"},
      {"{% for key, value in a.items() %}", "{% for key, value in a.items() %}"},
      {"{% for key, value in a.items () %}", "{% for key, value in a.items () %}"},
      {"{% for key, value in a|items %}", "{% for key, value in a|items %}"},
      {"{{ a.items_of }}{{ '.items' }}", "{{ a.items_of }}{{ '.items' }}"},
      {"Read order.items first. {{ a }} Then order.items.", "Read order.items first. {{ a }} Then order.items."},
      {".items", ".items"},
      {"", ""},
  };
  for (const auto& [source, mended] : rows) EXPECT_EQ(with_items_as_key(source), mended);
}

}  // namespace
}  // namespace drover
