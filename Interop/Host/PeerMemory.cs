using System;
using System.Globalization;
using System.IO;

namespace LowLevel.Interop.Host;

/// <summary>What the kernel keeps in memory for another process.</summary>
internal static class PeerMemory
{
    /// <summary>Resident bytes of the process (/proc/PID/statm); null where it is gone or not to be seen.</summary>
    public static ulong? ResidentBytes(int processId)
    {
        if (processId <= 0)
        {
            return null;
        }

        try
        {
            string[] pages = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{processId}/statm")).Split(' ');
            return pages.Length > 1 && ulong.TryParse(pages[1], NumberStyles.None, CultureInfo.InvariantCulture, out ulong resident)
                ? resident * (ulong)Environment.SystemPageSize
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
