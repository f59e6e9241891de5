#include "engine/gbnf.h"

#include <gtest/gtest.h>

namespace drover {
namespace {

TEST(Gbnf, LiteralsAreQuoted) {
  EXPECT_EQ(gbnf::literal("a\"b\\c\nd\te\r"), R"("a\"b\\c\nd\te\r")");
}

TEST(Gbnf, RulesAreRenamedWhereverTheyStandAndNothingElseIs) {
  EXPECT_EQ(gbnf::renamed("root ::= \"root\" (item-1 | [^root\\]\"]){2,3} <[12]> # root\nitem-1 ::= root?\n", "x-"),
            "x-root ::= \"root\" (x-item-1 | [^root\\]\"]){2,3} <[12]> # root\nx-item-1 ::= x-root?\n");
  EXPECT_EQ(gbnf::renamed("root ::= \"a \\\" root\"", "x-"), "x-root ::= \"a \\\" root\"");
  EXPECT_EQ(gbnf::renamed("root ::= \"open", "x-"), "x-root ::= \"open");
}

TEST(Gbnf, TheRootIsFoundAndReplaced) {
  const std::string grammar = "a ::= \"root ::= x\"\nroot ::= a |\n  b\nb ::= a\n";
  EXPECT_EQ(gbnf::root_of(grammar), "a |\n  b");
  EXPECT_EQ(gbnf::with_root(grammar, "b"), "root ::= b\na ::= \"root ::= x\"\nb ::= a\n");
  EXPECT_EQ(gbnf::root_of("b ::= \"c\""), "");
  EXPECT_EQ(gbnf::root_of("root ::= b"), "b");
}

TEST(Gbnf, EitherKeepsRulesOfOneNameApart) {
  EXPECT_EQ(gbnf::either("root ::= s\ns ::= \"1\"", "root ::= s\ns ::= \"2\""),
            "root ::= one-root | other-root\none-root ::= one-s\none-s ::= \"1\"\nother-root ::= other-s\n"
            "other-s ::= \"2\"\n");
}

}  // namespace
}  // namespace drover
