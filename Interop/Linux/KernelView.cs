using System;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace LowLevel.Interop.Linux;

/// <summary>Which pages of a range are resident, page by page (mincore(2)); for private anonymous memory that means: this process
/// has touched them and they have not been dropped. An observation: the answer may be old when it arrives.</summary>
internal static class KernelView
{
    // One byte a page; large ranges are asked in pieces so that the answer stays small.
    private const int PagesPerCall = 4096;

    /// <summary>Resident pages in the range; both bounds are multiples of the page size and mapped.</summary>
    public static long ResidentPages(nint address, nuint bytes)
    {
        long resident = 0;
        ForEach(address, bytes, (_, isResident) => resident += isResident ? 1 : 0);
        return resident;
    }

    /// <summary>Whether the page at this address is resident.</summary>
    public static bool IsResident(nint address) => ResidentPages(address, (nuint)Environment.SystemPageSize) == 1;

    /// <summary>Calls back for each page of the range, by address.</summary>
    public static unsafe void ForEach(nint address, nuint bytes, Action<nint, bool> visit)
    {
        nuint page = (nuint)Environment.SystemPageSize;
        byte* answer = stackalloc byte[PagesPerCall];
        for (nuint done = 0; done < bytes;)
        {
            nuint length = nuint.Min(bytes - done, page * PagesPerCall);
            nint from = address + (nint)done;

            // Sound: mincore writes one byte per page, and length is at most PagesPerCall pages.
            Marshal.SetLastSystemError(0);
            if (Native.mincore(from, length, answer) != 0)
            {
                int error = Marshal.GetLastSystemError();
                throw new Win32Exception(error, $"mincore of {length} bytes at 0x{from:x}: {(Errno)error}");
            }

            for (nuint i = 0; i < (length + page - 1) / page; i++)
            {
                visit(from + (nint)(i * page), (answer[i] & 1) != 0);
            }

            done += length;
        }
    }

    private static class Native
    {
        [DllImport("libc", ExactSpelling = true)]
        public static extern unsafe int mincore(nint address, nuint length, byte* residency);
    }
}
