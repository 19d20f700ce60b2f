using System;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;

namespace LowLevel.Perf;

/// <summary>The system's mode of transparent huge pages for as long as this lives; what was before comes back at the end, after a
/// failure, after Control-C and after a signal to end.</summary>
internal sealed class HugePageSetting : IDisposable
{
    private const string SystemFile = "/sys/kernel/mm/transparent_hugepage/enabled";

    private readonly string _file;
    private readonly string _before;
    private readonly PosixSignalRegistration[] _signals;
    private bool _isRestored;

    private HugePageSetting(string file, string before)
    {
        _file = file;
        _before = before;
        AppDomain.CurrentDomain.ProcessExit += OnExit;

        // The runtime has no handlers of its own for these since .NET 10: without these the process would just end.
        _signals =
        [
            .. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT }
                .Select(s => PosixSignalRegistration.Create(s, _ => Restore())),
        ];
    }

    /// <summary>Sets a mode: madvise, always or never. Null: leaves it as it is.</summary>
    /// <param name="mode">As the kernel writes it.</param>
    /// <param name="file">Where the kernel has it.</param>
    public static HugePageSetting? Set(string? mode, string file = SystemFile)
    {
        if (mode is null)
        {
            return null;
        }

        try
        {
            string modes = File.ReadAllText(file);
            int open = modes.IndexOf('[', StringComparison.Ordinal);
            int close = modes.IndexOf(']', StringComparison.Ordinal);
            string before = open >= 0 && close > open ? modes[(open + 1)..close] : modes.Trim();
            File.WriteAllText(file, mode);
            return new HugePageSetting(file, before);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"option --thp: '{mode}' cannot be set here: {e.Message}; allowed: as root, where that file can be written", e);
        }
    }

    public void Dispose()
    {
        Restore();
        Array.ForEach(_signals, s => s.Dispose());
        AppDomain.CurrentDomain.ProcessExit -= OnExit;
    }

    private void OnExit(object? sender, EventArgs e) => Restore();

    private void Restore()
    {
        if (!_isRestored)
        {
            _isRestored = true;
            File.WriteAllText(_file, _before);
        }
    }
}
