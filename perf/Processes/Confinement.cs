using System;
using System.Collections;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using LowLevel.Interop.Linux;

namespace LowLevel.Perf;

/// <summary>What containers and administrators do to a process, done to this one. A runtime asks for some of it once, when it starts, so this process
/// then begins anew (<see cref="Again"/>) and what was taken from it stays taken.</summary>
internal static class Confinement
{
    private const int NoNewPrivileges = 38;
    private const int SetSeccomp = 22;
    private const int SeccompFilter = 2;
    private const int SetThpDisable = 41;
    private const int GetThpDisable = 42;
    private const int LimitData = 2;
    private const int LimitAddressSpace = 9;
    private const int LockCurrent = 1;
    private const int LockFuture = 2;
    private const int LockOnFault = 4;
    private const uint ReturnEperm = 0x0005_0001;
    private const uint ReturnAllow = 0x7fff_0000;

    /// <summary>Numbers of system calls: x86_64, arm64 (asm/unistd_64.h, asm-generic/unistd.h).</summary>
    private static readonly Dictionary<string, (uint X64, uint Arm64)> Numbers = new()
    {
        ["madvise"] = (28, 233),
        ["process_madvise"] = (440, 440),
        ["membarrier"] = (324, 283),
        ["memfd_create"] = (319, 279),
        ["fallocate"] = (285, 47),
    };

    /// <summary>Lets these calls fail with EPERM from now on, in this thread and whatever it becomes (seccomp).</summary>
    public static unsafe void Deny(params string[] calls)
    {
        List<FilterStep> steps = [new(0x20, 0, 0, 0)]; // load the number
        foreach (string call in calls)
        {
            uint number = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? Numbers[call].Arm64 : Numbers[call].X64;
            steps.Add(new FilterStep(0x15, 0, 1, number)); // if it is this one, the next step, else the one behind
            steps.Add(new FilterStep(0x06, 0, 0, ReturnEperm));
        }

        steps.Add(new FilterStep(0x06, 0, 0, ReturnAllow));
        FilterStep[] program = [.. steps];
        Require(Native.prctl(NoNewPrivileges, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
        fixed (FilterStep* first = program)
        {
            // Sound: the kernel copies the program before the call returns.
            FilterProgram filter = new() { Length = (ushort)program.Length, Steps = first };
            Require(Native.prctl(SetSeccomp, SeccompFilter, (nuint)(&filter), 0, 0), "PR_SET_SECCOMP");
        }
    }

    /// <summary>Whether system calls are filtered.</summary>
    public static bool HasFilter => Array.Exists(File.ReadAllLines("/proc/self/status"), l => l.StartsWith("Seccomp:", StringComparison.Ordinal) && l.EndsWith('2'));

    /// <summary>No huge pages for this process and what it becomes.</summary>
    public static void DisableHugePages() => Require(Native.prctl(SetThpDisable, 1, 0, 0, 0), "PR_SET_THP_DISABLE");

    /// <summary>Whether it has none.</summary>
    public static bool HasNoHugePages => Native.prctl(GetThpDisable, 0, 0, 0, 0) == 1;

    /// <summary>All memory that is touched from now on stays (mlockall).</summary>
    public static void LockMemory() => Require(Native.mlockall(LockCurrent | LockFuture | LockOnFault), "mlockall");

    /// <summary>A bound on writable private memory, mapped or not touched yet: beyond it mmap and mprotect fail.</summary>
    public static void LimitDataBytes(ulong bytes) => Limit(LimitData, bytes);

    /// <summary>A bound on address space.</summary>
    public static void LimitAddressSpaceBytes(ulong bytes) => Limit(LimitAddressSpace, bytes);

    /// <summary>A memory cgroup of its own with a limit; told to the parent, which removes it.</summary>
    public static void EnterGroup(ulong limitBytes)
    {
        MemoryCgroup group = MemoryCgroup.OfThisProcess()?.TryCreate($"lowlevel-confined-{Environment.ProcessId}")
            ?? throw new MeasurementException("this machine gives no memory cgroup to a process");
        ChildSide.Say("group", "own", group.Version, group.Folder);
        File.WriteAllText(Path.Combine(group.Folder, group.Version == 2 ? "memory.max" : "memory.limit_in_bytes"), $"{limitBytes}");
        if (!group.TryEnter())
        {
            throw new MeasurementException("this process may not enter a memory cgroup");
        }
    }

    /// <summary>This program from its beginning, with one more option and all that was done to it.</summary>
    public static void Again(string option)
    {
        Console.Out.Flush();
        string[] arguments = File.ReadAllText("/proc/self/cmdline").TrimEnd('\0').Split('\0');
        string?[] environment = [.. Environment.GetEnvironmentVariables().Cast<DictionaryEntry>().Select(v => $"{v.Key}={v.Value}"), null];
        int result = Native.execve("/proc/self/exe", [.. arguments, option, null], environment);
        throw new MeasurementException($"execve returned {result}: {(Errno)Marshal.GetLastPInvokeError()}");
    }

    private static void Limit(int resource, ulong bytes)
    {
        ResourceLimit limit = new() { Soft = bytes, Hard = bytes };
        Require(Native.setrlimit(resource, ref limit), "setrlimit");
    }

    private static void Require(int result, string call)
    {
        if (result != 0)
        {
            throw new MeasurementException($"{call} failed: {(Errno)Marshal.GetLastPInvokeError()}");
        }
    }

    /// <summary>struct sock_filter (linux/filter.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly record struct FilterStep(ushort Code, byte IfTrue, byte IfFalse, uint Operand);

    /// <summary>struct sock_fprog.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FilterProgram
    {
        public ushort Length;
        public unsafe FilterStep* Steps;
    }

    /// <summary>struct rlimit.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct ResourceLimit
    {
        public ulong Soft;
        public ulong Hard;
    }

    private static class Native
    {
        [DllImport("libc", SetLastError = true)]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        public static extern int prctl(int option, nuint a, nuint b, nuint c, nuint d);

        [DllImport("libc", SetLastError = true)]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        public static extern int mlockall(int flags);

        [DllImport("libc", SetLastError = true)]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        public static extern int setrlimit(int resource, ref ResourceLimit limit);

        [DllImport("libc", SetLastError = true, CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        public static extern int execve(string path, string?[] arguments, string?[] environment);
    }
}
