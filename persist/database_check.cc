#include "persist/database_check.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>

#include "persist/data_directory.h"
#include "persist/readmission.h"
#include "persist/storage_env.h"
#include "persist/write_ahead.h"

namespace conclave::persist {

namespace {

constexpr std::size_t kTornCopiesMax = 8;

// The fields of LevelDB's version edits. Which ones follow each tag is all that is needed here.
enum EditTag : std::uint32_t {
  kComparator = 1,
  kLogNumber = 2,
  kNextFileNumber = 3,
  kLastSequence = 4,
  kCompactPointer = 5,
  kDeletedFile = 6,
  kNewFile = 7,
  kPrevLogNumber = 9,
};

std::optional<std::uint64_t> TakeVarint(std::string_view* from) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !from->empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(from->front());
    from->remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if ((byte & 0x80U) == 0) {
      return value;
    }
  }
  return std::nullopt;
}

bool SkipVarints(std::string_view* from, int count) {
  for (int i = 0; i < count; ++i) {
    if (!TakeVarint(from)) {
      return false;
    }
  }
  return true;
}

bool SkipString(std::string_view* from) {
  const auto length = TakeVarint(from);
  if (!length || *length > from->size()) {
    return false;
  }
  from->remove_prefix(static_cast<std::size_t>(*length));
  return true;
}

// Reads the log number out of one edit; false if the edit is not one.
bool ReadEdit(std::string_view edit, std::uint64_t* log_number) {
  while (!edit.empty()) {
    const auto tag = TakeVarint(&edit);
    bool sound = false;
    switch (tag.value_or(0)) {
      case kComparator:
        sound = SkipString(&edit);
        break;
      case kLogNumber:
        if (const auto number = TakeVarint(&edit)) {
          *log_number = *number;
          sound = true;
        }
        break;
      case kNextFileNumber:
      case kLastSequence:
      case kPrevLogNumber:
        sound = SkipVarints(&edit, 1);
        break;
      case kCompactPointer:
        sound = SkipVarints(&edit, 1) && SkipString(&edit);
        break;
      case kDeletedFile:
        sound = SkipVarints(&edit, 2);
        break;
      case kNewFile:
        sound = SkipVarints(&edit, 3) && SkipString(&edit) && SkipString(&edit);
        break;
      default:
        break;
    }
    if (!sound) {
      return false;
    }
  }
  return true;
}

struct LogFile {
  std::uint64_t number = 0;
  std::string name;
};

std::optional<std::uint64_t> LogFileNumber(std::string_view name) {
  if (!name.ends_with(".log")) {
    return std::nullopt;
  }
  name.remove_suffix(4);
  if (name.empty() || name.size() > 19 ||
      name.find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  return std::stoull(std::string(name));
}

// One check of one directory; the functions share where they are.
class Check {
 public:
  Check(leveldb::Env* env, Disk* disk, std::string database)
      : env_(env),
        database_(std::move(database)),
        writer_(env, disk, StorageEnv::Options::Plain()) {}

  tl::expected<WriteAheadRepair, Error> Run() {
    std::vector<std::string> names;
    if (const leveldb::Status status = env_->GetChildren(database_, &names); !status.ok()) {
      return tl::unexpected(IoError("cannot list " + database_, status));
    }
    // Judged in full first, cut afterwards: damage anywhere changes nothing.
    std::vector<Torn> torn;
    std::uint64_t log_number = 0;
    if (auto checked = CheckManifest(&log_number, &torn); !checked) {
      return tl::unexpected(checked.error());
    }
    if (auto checked = CheckLogs(names, log_number, &torn); !checked) {
      return tl::unexpected(checked.error());
    }
    WriteAheadRepair repair;
    for (const Torn& one : torn) {
      auto cut = Cut(one, names);
      if (!cut) {
        return cut;
      }
      repair = std::move(*cut);
    }
    return repair;
  }

 private:
  struct Torn {
    std::string file;
    std::string content;
    WriteAheadTail tail;
  };

  tl::unexpected<Error> Damaged(const std::string& file, const std::string& what) const {
    return tl::unexpected(Error{
        ErrorKind::kDamaged,
        fmt::format("{} is damaged: {}. {}", file, what, DamageRemedy(DirectoryOf(database_)))});
  }

  tl::expected<std::string, Error> ReadFile(const std::string& file) const {
    std::uint64_t size = 0;
    leveldb::SequentialFile* opened = nullptr;
    leveldb::Status status = env_->GetFileSize(file, &size);
    if (status.ok()) {
      status = env_->NewSequentialFile(file, &opened);
    }
    const std::unique_ptr<leveldb::SequentialFile> closes(opened);
    // In one piece: write-ahead files are a megabyte and more.
    std::string content(size, '\0');
    std::size_t filled = 0;
    for (leveldb::Slice got(""); status.ok() && filled < size;) {
      char* const to = content.data() + filled;
      status = opened->Read(size - filled, &got, to);
      if (got.empty()) {
        break;
      }
      std::memmove(to, got.data(), got.size());  // some read in place, others point elsewhere
      filled += got.size();
    }
    if (!status.ok()) {
      return tl::unexpected(IoError("cannot read " + file, status));
    }
    content.resize(filled);
    return content;
  }

  tl::expected<void, Error> CheckManifest(std::uint64_t* log_number, std::vector<Torn>* torn) {
    const std::string current = database_ + "/CURRENT";
    auto name = ReadFile(current);
    if (!name) {
      return tl::unexpected(name.error());
    }
    if (!name->starts_with("MANIFEST-") || !name->ends_with('\n') ||
        name->find('/') != std::string::npos) {
      return Damaged(current, "it names no MANIFEST");
    }
    name->pop_back();
    const std::string file = database_ + "/" + *name;
    if (!env_->FileExists(file)) {
      return Damaged(current, fmt::format("it names {}, which does not exist", *name));
    }
    auto content = ReadFile(file);
    if (!content) {
      return tl::unexpected(content.error());
    }
    bool sound = true;
    const WriteAheadTail tail = ScanManifest(
        *content, [&](std::string_view edit) { sound = sound && ReadEdit(edit, log_number); });
    if (!sound) {
      return Damaged(file, "it holds an edit that cannot be read");
    }
    return Judge(file, std::move(*content), tail, /*newest=*/true, torn);
  }

  tl::expected<void, Error> CheckLogs(const std::vector<std::string>& names,
                                      std::uint64_t log_number, std::vector<Torn>* torn) {
    std::vector<LogFile> logs;
    for (const std::string& name : names) {
      // Files before log_number are flushed and only wait for removal.
      if (const auto number = LogFileNumber(name); number && *number >= log_number) {
        logs.push_back({*number, database_ + "/" + name});
      }
    }
    std::sort(logs.begin(), logs.end(),
              [](const LogFile& a, const LogFile& b) { return a.number < b.number; });
    if (log_number != 0 && (logs.empty() || logs.front().number != log_number)) {
      return Damaged(database_,
                     fmt::format("the write-ahead file {:06}.log is missing", log_number));
    }
    for (const LogFile& log : logs) {
      auto content = ReadFile(log.name);
      if (!content) {
        return tl::unexpected(content.error());
      }
      const WriteAheadTail tail = ScanWriteAhead(*content);
      const bool newest = log.number == logs.back().number;
      if (auto judged = Judge(log.name, std::move(*content), tail, newest, torn); !judged) {
        return judged;
      }
    }
    return {};
  }

  tl::expected<void, Error> Judge(const std::string& file, std::string content,
                                  const WriteAheadTail& tail, bool newest,
                                  std::vector<Torn>* torn) const {
    if (tail.kind == TailKind::kDamaged) {
      return Damaged(file, fmt::format("at offset {}: {}", tail.bad_offset, tail.reason));
    }
    if (tail.kind == TailKind::kTorn && !newest) {
      return Damaged(file, fmt::format("at offset {}: {}, though a newer write-ahead file exists",
                                       tail.bad_offset, tail.reason));
    }
    if (tail.kind == TailKind::kTorn) {
      torn->push_back({file, std::move(content), tail});
    }
    return {};
  }

  tl::expected<WriteAheadRepair, Error> Cut(const Torn& torn,
                                            const std::vector<std::string>& names) {
    const std::string_view content = torn.content;
    const std::size_t end = content.find_last_not_of('\0') + 1;
    const auto begin = static_cast<std::size_t>(torn.tail.valid_bytes);
    const std::string_view rest = end > begin ? content.substr(begin, end - begin) : "";
    WriteAheadRepair repair{torn.file, fmt::format("{}.torn-{}", torn.file, begin), begin,
                            rest.size(), torn.tail.reason};
    DropOldCopies(names);
    // The copy first; then the file in one step by a rename, so that a crash in between finds the
    // torn file again. A temporary file of this name LevelDB removes if it was left over.
    const std::string temporary = database_ + "/000000.dbtmp";
    leveldb::Status status = WriteWhole(repair.copy, rest);
    if (status.ok()) {
      status = WriteWhole(temporary, content.substr(0, begin));
    }
    if (status.ok()) {
      status = writer_.RenameFile(temporary, torn.file);
    }
    if (!status.ok()) {
      return tl::unexpected(
          IoError(fmt::format("cannot cut the torn end off {}", torn.file), status));
    }
    LOG(WARNING) << "torn_tail_cut file=" << torn.file << " offset=" << begin
                 << " bytes=" << rest.size() << " reason=\"" << torn.tail.reason
                 << "\" copy=" << repair.copy
                 << " (the batch was being written when the machine or the process stopped and was "
                    "never acknowledged)";
    return repair;
  }

  leveldb::Status WriteWhole(const std::string& name, std::string_view content) {
    leveldb::WritableFile* raw = nullptr;
    leveldb::Status status = writer_.NewWritableFile(name, &raw);
    const std::unique_ptr<leveldb::WritableFile> file(raw);
    if (status.ok()) {
      status = file->Append(leveldb::Slice(content.data(), content.size()));
    }
    if (status.ok()) {
      status = file->Sync();
    }
    if (status.ok()) {
      status = file->Close();
    }
    return status;
  }

  void DropOldCopies(const std::vector<std::string>& names) {
    std::vector<std::string> copies;
    for (const std::string& name : names) {
      if (name.find(".torn-") != std::string::npos) {
        copies.push_back(name);
      }
    }
    std::sort(copies.begin(), copies.end());  // Six digits lead: the oldest come first.
    for (std::size_t i = 0; i + kTornCopiesMax <= copies.size(); ++i) {
      // One that cannot be removed only takes room.
      (void)writer_.RemoveFile(database_ + "/" + copies[i]);
    }
  }

  leveldb::Env* const env_;
  const std::string database_;
  StorageEnv writer_;
};

}  // namespace

tl::expected<WriteAheadRepair, Error> CheckDatabaseFiles(leveldb::Env* env, Disk* disk,
                                                         const std::string& database) {
  return Check(env, disk, database).Run();
}

std::string DamageRemedy(const std::string& data_dir) {
  return fmt::format(
      "Acknowledged entries may be lost, so this member must not go on with --data_dir={}: keep a "
      "copy of the directory for a look, then {}: the state comes from the others. Never repair "
      "the "
      "database.",
      data_dir, kReadmission);
}

}  // namespace conclave::persist
