#include "policy/memory_plan.h"

#include <algorithm>

namespace drover {

namespace {

struct Candidate {
  const Resident* resident;
  bool claimed = false;  // its room is promised to a model that waits
};

// Those whose room can be had, in the order in which it should be.
std::vector<Candidate> candidates_of(std::span<const Resident> residents) {
  std::vector<Candidate> candidates;
  for (const Resident& resident : residents)
    if (resident.standing != Standing::kLeaving && resident.standing != Standing::kPinned)
      candidates.push_back({&resident});
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    const Resident& left = *a.resident;
    const Resident& right = *b.resident;
    if (left.standing != right.standing) return left.standing < right.standing;
    const TimePoint left_time = left.standing == Standing::kIdle ? left.last_used : left.loaded_at;
    const TimePoint right_time = right.standing == Standing::kIdle ? right.last_used : right.loaded_at;
    return left_time != right_time ? left_time < right_time : left.runner < right.runner;
  });
  return candidates;
}

// Claims as many candidates as it takes for `available` to hold `need` and adds their room to it. Empty, with nothing
// claimed, if all of them are not enough.
std::vector<Candidate*> claim(std::vector<Candidate>& candidates, const Room& need, Room& available) {
  std::vector<Candidate*> claimed;
  for (Candidate& candidate : candidates) {
    if (available.holds(need)) break;
    if (candidate.claimed) continue;
    candidate.claimed = true;
    available += candidate.resident->room;
    claimed.push_back(&candidate);
  }
  if (!available.holds(need)) {
    for (Candidate* candidate : claimed) {
      candidate->claimed = false;
      available -= candidate->resident->room;
    }
    return {};
  }
  // A large one that came last may make smaller ones before it needless. But a drain that has begun is not given up for
  // one that would have to begin: they would take turns at it.
  const bool begun = std::all_of(claimed.begin(), claimed.end(), [](const Candidate* candidate) {
    return candidate->resident->standing <= Standing::kDraining;
  });
  for (auto it = claimed.begin(); it != claimed.end();) {
    const Resident& resident = *(*it)->resident;
    const Room without = available - resident.room;
    if (without.holds(need) && (begun || resident.standing != Standing::kDraining)) {
      available = without;
      (*it)->claimed = false;
      it = claimed.erase(it);
    } else {
      ++it;
    }
  }
  return claimed;
}

// What the claim on `resident` by a model that wants memory since `since` means now.
void pursue(const Resident& resident, TimePoint since, Duration residence_min, TimePoint now, MemoryPlan& plan) {
  switch (resident.standing) {
    case Standing::kDraining:
      plan.drain.push_back(resident.runner);
      break;
    case Standing::kIdle:
      plan.evict.push_back(resident.runner);
      break;
    case Standing::kBusy: {
      const TimePoint turn_ends = std::max(resident.loaded_at, since) + residence_min;
      if (turn_ends <= now)
        plan.drain.push_back(resident.runner);
      else
        plan.due = std::min(plan.due, turn_ends);
      break;
    }
    case Standing::kLoading:
    case Standing::kLeaving:
    case Standing::kPinned:
      break;
  }
}

// More is in use than may be, because a runner turned out larger than its estimate: idle ones leave, but never the
// last runner there is, because it evidently fits.
void relieve(std::vector<Candidate>& candidates, std::size_t staying, Room& available, MemoryPlan& plan) {
  for (Candidate& candidate : candidates) {
    if (available.holds(Room{}) || staying <= 1) return;
    if (candidate.resident->standing != Standing::kIdle) continue;
    candidate.claimed = true;
    available += candidate.resident->room;
    plan.evict.push_back(candidate.resident->runner);
    --staying;
  }
}

}  // namespace

MemoryPlan plan_memory(Room total, std::span<const Resident> residents, std::span<const Want> wants,
                       Duration residence_min, TimePoint now) {
  MemoryPlan plan;
  Room free = total;       // what can be taken now
  Room available = total;  // what can be had without asking anybody to leave, less what is promised
  std::size_t staying = 0;
  for (const Resident& resident : residents) {
    free -= resident.room;
    if (resident.standing == Standing::kLeaving) continue;
    available -= resident.room;
    ++staying;
  }
  std::vector<Candidate> candidates = candidates_of(residents);
  relieve(candidates, staying, available, plan);
  for (const Want& want : wants) {
    if (!want.blocked && free.holds(want.need) && available.holds(want.need)) {
      plan.start.push_back(want.model);
      free -= want.need;
    } else {
      const std::vector<Candidate*> victims = claim(candidates, want.need, available);
      // Earlier models have claimed all memory; later ones that would not delay it may go ahead.
      if (!available.holds(want.need)) continue;
      for (const Candidate* victim : victims) pursue(*victim->resident, want.since, residence_min, now, plan);
    }
    available -= want.need;
  }
  for (const Candidate& candidate : candidates)
    if (candidate.resident->standing == Standing::kDraining && !candidate.claimed)
      plan.recover.push_back(candidate.resident->runner);
  return plan;
}

}  // namespace drover
