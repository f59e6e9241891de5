#include "runner/step_curve.h"

#include <gtest/gtest.h>

#include <cmath>

namespace drover {
namespace {

constexpr int kRowsMax = 512;

// Each size so often, in steps that follow each other.
class Measured {
 public:
  void add(int rows, double seconds, int times = 1) {
    while (times-- > 0) factor *= curve.observe(rows, seconds, ++step);
  }

  StepCurve curve{kRowsMax};
  double factor = 1;
  std::int64_t step = 0;
};

TEST(StepCurve, NothingIsKnownAtFirst) {
  const StepCurve curve(kRowsMax);
  EXPECT_TRUE(curve.empty());
  EXPECT_EQ(curve.largest(), 0);
  EXPECT_EQ(curve.at(40), 0);
}

TEST(StepCurve, SizesAreMultiplesUpToTheLargest) {
  const StepCurve curve(510);
  EXPECT_EQ(curve.sizes().front(), 1);
  EXPECT_EQ(curve.sizes().back(), 510);
  for (const int rows : curve.sizes()) EXPECT_TRUE(rows < 4 || rows % 4 == 0 || rows == 510) << rows;
  for (int rows_max = 1; rows_max < 20; ++rows_max) EXPECT_EQ(StepCurve(rows_max).sizes().back(), rows_max);
}

TEST(StepCurve, BetweenMeasurementsItIsInterpolated) {
  Measured m;
  m.add(16, 0.1);
  m.add(64, 0.4);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.1);
  EXPECT_DOUBLE_EQ(m.curve.at(64), 0.4);
  EXPECT_NEAR(m.curve.at(40), 0.25, 1e-9);
  EXPECT_NEAR(m.curve.at(41), 0.25 + 0.3 / 48, 1e-9);
}

TEST(StepCurve, MoreRowsTakeNoLessTime) {
  Measured m;
  m.add(16, 0.5);
  m.add(32, 0.2);
  m.add(64, 0.4);
  for (int rows = 2; rows <= kRowsMax; ++rows) EXPECT_GE(m.curve.at(rows), m.curve.at(rows - 1)) << rows;
  EXPECT_LE(m.curve.at(16), 0.2);
}

TEST(StepCurve, BeyondTheLargestItIsBoundedByStepsThatHoldTheRowsBetweenThem) {
  Measured m;
  m.add(4, 0.1);
  m.add(16, 0.3);
  EXPECT_DOUBLE_EQ(m.curve.at_most(20), 0.4);
  EXPECT_DOUBLE_EQ(m.curve.at_most(32), 0.6);
  EXPECT_DOUBLE_EQ(m.curve.at_most(68), 1.3);
  EXPECT_LE(m.curve.at(32), m.curve.at_most(32));
  EXPECT_GT(m.curve.at(32), 0.4);
}

TEST(StepCurve, ASlowStepChangesNothing) {
  Measured m;
  m.add(16, 0.1, 5);
  m.add(16, 5);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.1);
  m.add(16, 5);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.1);
  m.add(32, 5);  // the first of its size: no more than two steps of 16
  EXPECT_DOUBLE_EQ(m.curve.at(32), 0.2);
  EXPECT_EQ(m.factor, 1);
}

TEST(StepCurve, OlderMeasurementsFollowAMachineThatChanges) {
  for (const double change : {0.5, 2.0}) {
    Measured m;
    m.add(64, 0.8, 5);
    m.add(16, 0.2, 20);
    m.add(16, 0.2 * change, 5);
    EXPECT_DOUBLE_EQ(m.factor, change);
    EXPECT_DOUBLE_EQ(m.curve.at(16), 0.2 * change);
    EXPECT_NEAR(m.curve.at(64), 0.8 * change, 1e-9);
  }
}

TEST(StepCurve, NoiseOfOneSizeLeavesTheOthersAlone) {
  Measured m;
  m.add(64, 0.8, 5);
  for (int i = 0; i < 100; ++i) m.add(16, 0.2 * (1 + 0.3 * std::sin(i)));
  EXPECT_EQ(m.factor, 1);
  EXPECT_DOUBLE_EQ(m.curve.at(64), 0.8);
}

TEST(StepCurve, OtherSizesOnlyFillGaps) {
  Measured m;
  m.add(18, 0.3);
  EXPECT_EQ(m.curve.largest(), 16);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.3);
  m.add(19, 3, 20);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.3);
  m.add(16, 0.2, 3);
  EXPECT_DOUBLE_EQ(m.curve.at(16), 0.2);
}

TEST(StepCurve, RemembersWhatWasMeasuredOfLate) {
  Measured m;
  m.add(64, 0.8);
  m.add(16, 0.2, 10);
  EXPECT_EQ(m.curve.largest(), 64);
  EXPECT_EQ(m.curve.largest_since(1), 64);
  EXPECT_EQ(m.curve.largest_since(2), 16);
  EXPECT_EQ(m.curve.largest_since(100), 0);
}

}  // namespace
}  // namespace drover
