using System;
using System.IO;

namespace LowLevel.Interop.Host;

/// <summary>The status as a file that is always whole: written beside it and moved over it.</summary>
internal static class StatusFile
{
    /// <summary>Writes it. False: the system refused; what was there before stays.</summary>
    public static bool Write(string path, HostStatus status)
    {
        string beside = path + ".new";
        try
        {
            using (FileStream file = File.Create(beside))
            {
                file.Write(StatusJson.Write(status));
                file.WriteByte((byte)'\n');
            }

            File.Move(beside, path, overwrite: true);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
